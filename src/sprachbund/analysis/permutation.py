"""What shares and means would be if the language of a training example did not matter.

Training examples keep their influence and exchange their language labels. Test examples, and
whatever ties them to one another, stay as they are.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.stats import false_discovery_control

from sprachbund.analysis.exchange import Units, exchangeable
from sprachbund.analysis.measures import by_test_language
from sprachbund.errors import InfluenceError

Array = npt.NDArray[np.float64]
_NUMBERS_AT_ONCE = 2**22
_ROUNDING = 1e-12


def permutation_test(
    weights: xr.DataArray, n_permutations: int = 1999, *, seed: int = 0, level: float = 0.95
) -> xr.Dataset:
    """Does the language of training examples matter? One test for each language pair.

    `weights` [test, train] is what each training example adds to the value of its language:
    `top_weights` for the share of the top k, `mass_weights` for the mass share, the scores
    themselves for the mean influence. In that case the values are sums; divide them by `n_train`
    for means. The p-value is the same, because no permutation changes how many examples a language
    has.

    Labels are exchanged within translation sets (training examples of one `train_item`), so that
    what an item is about cannot pass for an effect of its language; training examples that have no
    translation exchange theirs with one another. (Parallel data whose items are not named gives
    p-values that are too large.) What shares a `train_group`, such as the hypotheses of one premise,
    is alike within a language, and moves together (`exchangeable`): one by one, p-values would be
    too small. What remains is a group whose items are in different sets of languages, which move
    separately.

    The p-value is two-sided, by the distance from the mean over all permutations (in closed form),
    and counts the observed labels as one of them, so that it is never 0: (1 + permutations at least
    as far off) / (1 + permutations) (Phipson and Smyth 2010).

    Returns: `observed`, `null_mean`, `null_low`, `null_high` (where `level` of the permutations
    lie), `p_value` and `q_value` (Benjamini-Hochberg over the cells), each [test_language,
    train_language]; NaN for a test language of which all weights are NaN.
    Raises: InfluenceError if all training examples that could exchange labels are of one language.
    """
    mean = by_test_language(weights).transpose("test_language", "train")
    units = exchangeable(weights)
    _check_exchange(units)
    mean_TN = mean.values
    sum_TU = _by_unit(mean_TN, units)
    observed_TL = sum_TU @ np.equal.outer(units.code_U, np.arange(len(units.languages)))
    null_mean_TL = sum_TU @ _chances(units)
    draws_RTL = np.concatenate(list(_draws(sum_TU, units, n_permutations, seed)))
    rounding_T1 = _ROUNDING * np.abs(mean_TN).sum(axis=1, keepdims=True)
    p_TL = _p_values(observed_TL - null_mean_TL, draws_RTL - null_mean_TL, rounding_T1)
    tail = (1 - level) / 2
    low_TL, high_TL = np.quantile(draws_RTL, [tail, 1 - tail], axis=0)
    variables = {
        "observed": observed_TL,
        "null_mean": null_mean_TL,
        "null_low": low_TL,
        "null_high": high_TL,
        "p_value": p_TL,
        "q_value": benjamini_hochberg(p_TL),
    }
    dims = ("test_language", "train_language")
    return xr.Dataset(
        {name: (dims, values) for name, values in variables.items()},
        coords={
            "test_language": mean["test_language"].values,
            "n_test": mean["n_test"],
            "train_language": units.languages,
            "n_train": ("train_language", np.bincount(units.code_N)),
        },
        attrs={"n_permutations": n_permutations, "level": level},
    )


def benjamini_hochberg(p_values: Array) -> Array:
    """Benjamini-Hochberg adjusted p-values over all cells of an array; NaN stay NaN and out.

    Rejecting where the result is at most q keeps the expected share of false rejections at or
    below q for independent tests. Cells of one row add up, and so are not independent;
    simulations of shares without effect (tests/analysis) show no excess.
    """
    known = ~np.isnan(p_values)
    result = np.full(p_values.shape, np.nan)
    if known.any():
        result[known] = false_discovery_control(p_values[known], method="bh")
    return result


def _p_values(observed_TL: Array, draws_RTL: Array, rounding_T1: Array) -> Array:
    """Two-sided, of distances from the null mean; equal up to rounding counts as being as far."""
    as_far_TL = (np.abs(draws_RTL) >= np.abs(observed_TL) - rounding_T1).sum(axis=0)
    return np.where(np.isnan(observed_TL), np.nan, (1 + as_far_TL) / (1 + len(draws_RTL)))


def _check_exchange(units: Units) -> None:
    kinds = np.unique(np.stack([units.stratum_U, units.code_U]), axis=1)
    if len(np.unique(kinds[0])) == kinds.shape[1]:
        raise InfluenceError(
            f"the training examples are of {', '.join(units.languages)}, and none could have another's "
            "language: the labels of two languages or more are needed, on translations of one item "
            "or on examples without translations"
        )


def _by_unit(mean_TN: Array, units: Units) -> Array:
    """What each unit adds, [test_language, unit]."""
    sums_UT = np.zeros((len(units.code_U), len(mean_TN)))
    np.add.at(sums_UT, units.unit_N, mean_TN.T)
    return sums_UT.T


def _chances(units: Units) -> Array:
    """Probability that each unit gets each language's label, [unit, language]."""
    n_strata, n_languages = int(units.stratum_U.max()) + 1, len(units.languages)
    cells = units.stratum_U * n_languages + units.code_U
    counts = np.bincount(cells, minlength=n_strata * n_languages).reshape(n_strata, n_languages)
    chances: Array = (counts / counts.sum(axis=1, keepdims=True))[units.stratum_U]
    return chances


def _draws(sum_TU: Array, units: Units, n_permutations: int, seed: int) -> Iterator[Array]:
    """Yield what is observed under permuted labels, [permutation, test_language, train_language]."""
    rng = np.random.default_rng(seed)
    n_units = len(units.code_U)
    slots_U = np.argsort(units.stratum_U, kind="stable")
    n_block = max(1, _NUMBERS_AT_ONCE // n_units)
    for start in range(0, n_permutations, n_block):
        n = min(n_block, n_permutations - start)
        # Sorting by stratum plus noise shuffles within each stratum and keeps strata in their slots.
        order_RU = np.argsort(units.stratum_U + rng.random((n, n_units)), axis=1)
        permuted_RU = np.empty((n, n_units), dtype=np.int32)
        permuted_RU[:, slots_U] = units.code_U[order_RU]
        by_language = [(permuted_RU == code) @ sum_TU.T for code in range(len(units.languages))]
        yield np.stack(by_language, axis=2)
