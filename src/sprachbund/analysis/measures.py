"""What one score matrix says of each test example, by training language.

A score matrix is [test, train] with the coordinates of the examples: `Influence.total()`,
`Influence.at(step)`, or either with something taken out of it. Values stay one for each test
example, because the statistics resample test examples; `by_test_language` averages them.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from sprachbund.analysis.labels import (
    example_coords,
    in_order,
    language_codes,
    language_coords,
    language_dims,
)
from sprachbund.analysis.tops import check_ks, check_sign, part_in_top
from sprachbund.influence import Sign

KS = (10, 25, 50, 100, 250)


def top_shares(
    scores: xr.DataArray, ks: Sequence[int] = KS, sign: Sign = "proponents"
) -> xr.DataArray:
    """Percentage of each test example's top k that each training language contributes.

    Choenni et al. (2023), section 6, for several k. Examples that score as the k-th share the places left.

    Returns: [k, test, train_language], percent; sums to 100 over languages. `expected_percent`
    [train_language] is the share of a top k drawn at random.
    Raises: InfluenceError if a k exceeds the number of training examples.
    """
    check_ks(ks, scores.sizes["train"])
    values = scores.transpose("test", "train")
    tops = [values.copy(deep=False, data=part_in_top(values, k, sign)) for k in ks]
    shares = [_sum_by_language(top) * 100.0 / k for top, k in zip(tops, ks, strict=True)]
    expected = chance(scores["train_language"])["expected_percent"]
    return (
        xr.concat(shares, "k")
        .assign_coords(k=list(ks), expected_percent=expected)
        .rename("share_percent")
        .assign_attrs(sign=sign)
    )


def top_share(scores: xr.DataArray, k: int, sign: Sign = "proponents") -> xr.DataArray:
    """`top_shares` for a single k, [test, train_language]."""
    return top_shares(scores, (k,), sign).isel(k=0, drop=True)


def mass_share(scores: xr.DataArray, sign: Sign = "proponents") -> xr.DataArray:
    """Percentage of each test example's positive influence that each training language holds.

    Sums of scores above zero, not counts: one strong proponent weighs as much as it is strong. For
    opponents, of the scores below zero. Scores that are shuffled over the training examples hold
    the share that the language has of the training set: `expected_percent`.

    Returns: [test, train_language], percent; sums to 100 over languages. NaN for a test example
    that no training example speaks for.
    """
    shares = _sum_by_language(mass_weights(scores, sign))
    return shares.assign_coords(chance(scores["train_language"])).rename("mass_percent")


def mean_influence(scores: xr.DataArray) -> xr.DataArray:
    """Mean score over the training examples of each language, in the unit of the scores.

    Returns: [test, train_language], float64.
    """
    sums = _sum_by_language(scores.astype(np.float64))
    counts = chance(scores["train_language"])["n_train"]
    return (sums / counts).assign_coords(n_train=counts).rename("mean_influence")


def top_weights(scores: xr.DataArray, k: int, sign: Sign = "proponents") -> xr.DataArray:
    """What each training example adds to the top-k share of its language: 100 / k, 0, or between (`part_in_top`).

    Returns: [test, train], percent; sums to 100 over training examples.
    Raises: InfluenceError if k exceeds the number of training examples.
    """
    weights = part_in_top(scores, k, sign) * (100.0 / k)
    return scores.transpose("test", "train").copy(deep=False, data=weights).rename("top_percent")


def mass_weights(scores: xr.DataArray, sign: Sign = "proponents") -> xr.DataArray:
    """What each training example adds to the mass share of its language.

    Returns: [test, train], percent; sums to 100 over training examples, or all NaN for a test
    example that no training example speaks for.
    """
    check_sign(sign)
    values = scores.transpose("test", "train")
    signed = values.values.astype(np.float64) * (1.0 if sign == "proponents" else -1.0)
    mass = np.maximum(signed, 0.0)
    total = mass.sum(axis=1, keepdims=True)
    weights = 100.0 * mass / np.where(total > 0, total, np.nan)
    return values.copy(deep=False, data=weights).rename("mass_percent")


def lift(shares: xr.DataArray) -> xr.DataArray:
    """Share over the share expected by chance; 1 is chance.

    `shares` has the coordinate `expected_percent`, as the shares of this package have. A limit of
    an interval of shares divides in the same way.

    Returns: the dims of `shares`, a ratio.
    """
    ratio = shares / shares["expected_percent"]
    return ratio.rename("lift").assign_attrs(shares.attrs)


def by_test_language(values: xr.DataArray) -> xr.DataArray:
    """Mean over the test examples of each language, which each count the same.

    `values` is [..., test, ...]. NaN are left out; a language with nothing else is NaN.

    Returns: `test_language` in the place of `test`; `n_test` examples are behind a language.
    """
    axis = values.dims.index("test")
    languages = values["test_language"].values.astype(object)
    means = []
    for language in in_order(languages):
        rows = np.compress(languages == language, values.values, axis=axis).astype(np.float64)
        known = (~np.isnan(rows)).sum(axis=axis)
        means.append(np.nansum(rows, axis=axis) / np.where(known > 0, known, np.nan))
    return xr.DataArray(
        np.stack(means, axis=axis),
        dims=language_dims(values),
        coords=language_coords(values),
        name=values.name,
        attrs=values.attrs,
    )


def chance(train_language: xr.DataArray) -> dict[str, xr.DataArray]:
    """`expected_percent` and `n_train`, both [train_language], from the languages [train]."""
    codes, languages = language_codes(train_language)
    counts = np.bincount(codes)
    coords = {"train_language": languages}
    return {
        "expected_percent": xr.DataArray(
            100.0 * counts / len(codes), dims="train_language", coords=coords
        ),
        "n_train": xr.DataArray(counts, dims="train_language", coords=coords),
    }


def _sum_by_language(weights: xr.DataArray) -> xr.DataArray:
    codes, languages = language_codes(weights["train_language"])
    member = np.equal.outer(codes, np.arange(len(languages))).astype(np.float64)
    return xr.DataArray(
        weights.transpose("test", "train").values @ member,
        dims=("test", "train_language"),
        coords={**example_coords(weights), "train_language": languages},
    )
