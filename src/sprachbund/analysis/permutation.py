"""What shares and means would be if the language of a training example did not matter.

Training examples keep their influence and exchange their language labels. Test examples, and
whatever ties them to one another, stay as they are.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy.stats import false_discovery_control

from sprachbund.analysis.labels import language_codes
from sprachbund.analysis.measures import by_test_language
from sprachbund.errors import InfluenceError

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
_NUMBERS_AT_ONCE = 2**22
_ROUNDING = 1e-12


class _Labels(NamedTuple):
    codes_N: Codes  # language of each training example
    languages: list[str]
    strata_N: Codes  # labels are exchanged among the training examples of one stratum


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
    p-values that are too large.)

    The p-value is two-sided, by the distance from the mean over all permutations (in closed form),
    and counts the observed labels as one of them, so that it is never 0: (1 + permutations at least
    as far off) / (1 + permutations) (Phipson and Smyth 2010).

    Returns: `observed`, `null_mean`, `null_low`, `null_high` (where `level` of the permutations
    lie), `p_value` and `q_value` (Benjamini-Hochberg over the cells), each [test_language,
    train_language]; NaN for a test language of which all weights are NaN.
    Raises: InfluenceError if all training examples that could exchange labels are of one language.
    """
    mean = by_test_language(weights).transpose("test_language", "train")
    labels = _labels(weights)
    mean_TN = mean.values
    observed_TL = mean_TN @ _one_hot(labels.codes_N, len(labels.languages))
    null_mean_TL = mean_TN @ _chances(labels)
    draws_RTL = np.concatenate(list(_draws(mean_TN, labels, n_permutations, seed)))
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
            "train_language": labels.languages,
            "n_train": ("train_language", np.bincount(labels.codes_N)),
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


def _labels(weights: xr.DataArray) -> _Labels:
    codes_N, languages = language_codes(weights["train_language"])
    items = weights["train_item"].values.astype(object)
    sets_N = pd.factorize(items)[0]
    alone = (items == "") | (np.bincount(sets_N)[sets_N] == 1)
    strata_N = pd.factorize(np.where(alone, -1, sets_N))[0]
    kinds = pd.DataFrame({"stratum": strata_N, "language": codes_N}).groupby("stratum").nunique()
    if (kinds["language"] < 2).all():
        raise InfluenceError(
            f"the training examples are of {', '.join(languages)}, and none could have another's "
            "language: the labels of two languages or more are needed, on translations of one item "
            "or on examples without translations"
        )
    return _Labels(codes_N, languages, strata_N)


def _one_hot(codes_N: Codes, n: int) -> Array:
    return np.equal.outer(codes_N, np.arange(n)).astype(np.float64)


def _chances(labels: _Labels) -> Array:
    """Probability that each training example gets each language's label, [train, language]."""
    n_strata, n_languages = int(labels.strata_N.max()) + 1, len(labels.languages)
    cells = labels.strata_N * n_languages + labels.codes_N
    counts = np.bincount(cells, minlength=n_strata * n_languages).reshape(n_strata, n_languages)
    chances: Array = (counts / counts.sum(axis=1, keepdims=True))[labels.strata_N]
    return chances


def _draws(mean_TN: Array, labels: _Labels, n_permutations: int, seed: int) -> Iterator[Array]:
    """Yield what is observed under permuted labels, [permutation, test_language, train_language]."""
    rng = np.random.default_rng(seed)
    n_train = len(labels.codes_N)
    slots_N = np.argsort(labels.strata_N, kind="stable")
    n_block = max(1, _NUMBERS_AT_ONCE // n_train)
    for start in range(0, n_permutations, n_block):
        n = min(n_block, n_permutations - start)
        # Sorting by stratum plus noise shuffles within each stratum and keeps strata in their slots.
        order_RN = np.argsort(labels.strata_N + rng.random((n, n_train)), axis=1)
        permuted_RN = np.empty((n, n_train), dtype=np.int32)
        permuted_RN[:, slots_N] = labels.codes_N[order_RN]
        by_language = [(permuted_RN == code) @ mean_TN.T for code in range(len(labels.languages))]
        yield np.stack(by_language, axis=2)
