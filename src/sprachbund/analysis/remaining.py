"""What part of an effect remains after a control: a ratio of two means over test examples, with its interval."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from sprachbund.analysis.seeds import combine_seeds, quiet_about_signs

_FIRST_STEP = 0.25
_WIDENINGS = 10  # up to 128 times the effect
_HALVINGS = 14


def remaining_intervals(
    controlled: Mapping[int, xr.DataArray],
    plain: Mapping[int, xr.DataArray],
    ratio: xr.DataArray,
    level: float = 0.95,
) -> xr.Dataset:
    """The interval of a ratio of two mean effects: all r for which `controlled` - r * `plain` may have the mean 0.

    A test turned into an interval (Fieller 1954): it allows for both effects varying together over test examples and
    runs, and holds where the ratio of the resamples would not, since their denominators may come close to 0.

    Args:
        controlled, plain: by the seed of the run, the effects (0: none) of each test example, [..., test, ...].
        ratio: the ratio of their means, [..., test_language, ...]; NaN where it is not asked.

    Returns: `low` and `high`, as `ratio`: of the first run of values around it that the interval of `combine_seeds`
        does not exclude. NaN where it excludes none on that side: the plain effect may then be 0.
    """

    sides = xr.DataArray([-1.0, 1.0], dims="side", coords={"side": ["low", "high"]})
    dims = ("side", *ratio.dims)

    def is_possible(r: xr.DataArray) -> xr.DataArray:
        differences = {
            seed: (effect - _by_example(r, effect) * plain[seed]).transpose("side", *effect.dims)
            for seed, effect in controlled.items()
        }
        with quiet_about_signs():
            found = combine_seeds(differences, 0.0, level=level)
        excluded = (found["low"] > 0) | (found["high"] < 0)
        return (~excluded).transpose(*dims)

    inside = ratio.expand_dims(side=sides["side"]).transpose(*dims)
    outside = inside * np.nan
    for widening in range(_WIDENINGS):
        searching = outside.isnull() & inside.notnull()
        if not searching.any():
            break
        tried = (ratio + sides * _FIRST_STEP * 2.0**widening).transpose(*dims)
        possible = is_possible(tried)
        inside = inside.where(~(searching & possible), tried)
        outside = outside.where(~(searching & ~possible), tried)
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        possible = is_possible(middle)
        inside, outside = inside.where(~possible, middle), outside.where(possible, middle)
    limits = inside.where(outside.notnull())
    return xr.Dataset(
        {str(side): limits.sel(side=side, drop=True) for side in sides["side"].values}
    )


def _by_example(ratio: xr.DataArray, effect: xr.DataArray) -> xr.DataArray:
    """The ratio of each test example's language."""
    language = effect["test_language"].values
    chosen = ratio.sel(test_language=xr.DataArray(language, dims="test"))
    return chosen.drop_vars([name for name in chosen.coords if name not in chosen.dims])
