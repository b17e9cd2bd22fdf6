"""How far two trainings differ that should not: the noise of retraining, from the draws of a random control.

Training on other examples, and so in another order, moves all predictions of a model together. An
interval over test examples does not see that.
"""

import numpy as np
import xarray as xr
from scipy.stats import t as student_t

from sprachbund.analysis.labels import ALL, as_one
from sprachbund.analysis.measures import by_test_language
from sprachbund.analysis.statistics import standard_error

INFLUENCE, RANDOM = "influence", "random"


def retraining_variance(draws: xr.DataArray) -> xr.DataArray:
    """Variance of a language's mean between draws, less what test examples alone account for.

    `draws` is [..., k, draw, test]. The interaction of draw and test example is in the interval over
    test examples already, and is taken off as in a two-way analysis of variance (`combine_seeds`
    does the same). Averaged over k, because a retraining without a few more examples is as noisy.

    Returns: `test_language` in the place of `test`, without `draw` and `k`; 0 where nothing is left.
    """
    n_draws = draws.sizes["draw"]
    interaction = standard_error(draws - draws.mean("draw", skipna=False)) ** 2
    between = by_test_language(draws).var("draw", ddof=1)
    excess = between - interaction.mean("draw") * n_draws / (n_draws - 1)
    return excess.mean("k", skipna=False).clip(min=0.0)


def retraining_error(values: xr.DataArray, of: str) -> xr.DataArray:
    """Standard error of influence minus each control that is due to retraining.

    `values` is [measure, criterion, k, draw, test] of one run, of which the criterion "random" has all
    draws. What is removed for a language is one retraining, whose noise s^2 is that of a random
    one; a control `random` of D draws has s^2 / D, and what is averaged over languages less, by the
    squares of their weights. What is removed for single test examples has its noise in the
    spread between these, so that only that of `random`, which they share, is added.

    Returns: [measure, control, test_language], the last language "all"; attribute
    `degrees_of_freedom`, (D - 1) x number of k.
    """
    draws = values.sel(criterion=RANDOM, drop=True)
    n_draws, n_k = draws.sizes["draw"], draws.sizes["k"]
    each, together = retraining_variance(draws), retraining_variance(as_one(draws))
    weight = each["n_test"] / each["n_test"].sum()
    each, together = (found.drop_vars("n_test") for found in (each, together))
    alone = (each * weight**2).sum("test_language").expand_dims(test_language=[ALL], axis=-1)
    shared = xr.concat([each, together], dim="test_language") / n_draws
    own = xr.concat([each, alone], dim="test_language")
    if of == "example":
        own = own * 0.0
    controls = [name for name in values["criterion"].values if name != INFLUENCE]
    variance = [own + (shared if name == RANDOM else own) for name in controls]
    error = xr.concat(variance, dim="control").assign_coords(control=controls) ** 0.5
    return error.assign_attrs(degrees_of_freedom=(n_draws - 1) * n_k)


def joined(
    found: xr.Dataset, error: xr.DataArray, level: float, bounds: tuple[float, float]
) -> xr.Dataset:
    """An interval joined with an independent error, by Student's t (Zou and Donner 2008).

    In simulations of normal values (10 or 25 test examples, noise of retraining none, a third of
    their spread, or as much; the interval over test examples Student's t), intervals of 95 percent
    cover in 93 to 97 for five draws (one k or three) and for three draws of three k; for two draws
    of one k, in as few as 87.
    """
    quantile = float(student_t.ppf((1 + level) / 2, error.attrs["degrees_of_freedom"]))
    mean, radius = found["mean"], quantile * error
    below, above = (np.hypot(mean - found[end], radius) for end in ("low", "high"))
    low, high = ((mean - below).clip(*bounds), (mean + above).clip(*bounds))
    return found.assign(low=low.transpose(*mean.dims), high=high.transpose(*mean.dims))
