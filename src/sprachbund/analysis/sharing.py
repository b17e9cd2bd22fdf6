"""Whose training examples are among the top k of each language's test examples.

Choenni et al. (2023) call this cross-lingual data sharing. Values of single test examples, as the
statistics take them, come from `example_shares` here and from `measures` for any score matrix.
"""

import warnings
from collections.abc import Sequence

import xarray as xr

from sprachbund.analysis.measures import (
    KS,
    by_test_language,
    chance,
    mass_share,
    mean_influence,
    top_shares,
)
from sprachbund.errors import SprachbundWarning
from sprachbund.influence import Influence, Sign


def language_share(
    influence: Influence, k: int = 100, sign: Sign = "proponents", checkpoint: int | None = None
) -> xr.DataArray:
    """Percentage of each test example's top-k training examples that each language contributes.

    Choenni et al. (2023), section 6. By the total, or at one checkpoint (an optimizer step).
    Averaged over the test examples of a language, which each count the same.

    Returns: [test_language, train_language], percent; rows sum to 100. Coordinates beside:
    `n_test` (examples behind a row) and `expected_percent` (the share of k drawn at random).
    Raises: InfluenceError if k exceeds the number of training examples.
    """
    shares = _shares(influence, (k,), sign, checkpoint)
    _warn_of_large_k(k, influence.dataset.sizes["train"])
    return by_test_language(_only_k(shares))


def language_shares(
    influence: Influence,
    ks: Sequence[int] = KS,
    sign: Sign = "proponents",
    checkpoint: int | None = None,
) -> xr.DataArray:
    """`language_share` for several k, from one ranking.

    Returns: [k, test_language, train_language], percent, with the coordinates of `language_share`.
    Raises: InfluenceError if a k exceeds the number of training examples.
    """
    shares = _shares(influence, ks, sign, checkpoint)
    _warn_of_large_k(max(ks), influence.dataset.sizes["train"])
    return by_test_language(shares)


def example_share(
    influence: Influence, k: int = 100, sign: Sign = "proponents", checkpoint: int | None = None
) -> xr.DataArray:
    """Percentage of each single test example's top k that each training language contributes.

    Returns: [test, train_language], percent; rows sum to 100; with the coordinates of the test
    examples (`test_language`, `test_item`, ...), so that they can be averaged and resampled.
    Raises: InfluenceError if k exceeds the number of training examples.
    """
    shares = _shares(influence, (k,), sign, checkpoint)
    _warn_of_large_k(k, influence.dataset.sizes["train"])
    return _only_k(shares)


def example_shares(
    influence: Influence,
    ks: Sequence[int] = KS,
    sign: Sign = "proponents",
    checkpoint: int | None = None,
) -> xr.DataArray:
    """`example_share` for several k, from one ranking.

    Returns: [k, test, train_language], percent; sums to 100 over languages.
    Raises: InfluenceError if a k exceeds the number of training examples.
    """
    shares = _shares(influence, ks, sign, checkpoint)
    _warn_of_large_k(max(ks), influence.dataset.sizes["train"])
    return shares


def language_mass_share(
    influence: Influence, sign: Sign = "proponents", checkpoint: int | None = None
) -> xr.DataArray:
    """Percentage of the positive influence that each training language holds; see `mass_share`.

    Of the negative influence for opponents. Averaged over the test examples of a language, those
    that nothing speaks for left out. A few strong examples can hold much of it, where the top k
    counts each alike.

    Returns: [test_language, train_language], percent; rows sum to 100. Coordinates beside:
    `n_test` and `expected_percent` (the share of the training set, which is chance here too).
    """
    return by_test_language(mass_share(_scores(influence, checkpoint), sign))


def language_mean_influence(influence: Influence, checkpoint: int | None = None) -> xr.DataArray:
    """Mean influence of one training example of a language on one test example of another.

    In the unit of the method: a cosine at one checkpoint, a sum of cosines over the run, ...
    Zero is no influence; the sizes of the languages have no part in it.

    Returns: [test_language, train_language], float64, with `n_test` and `n_train`.
    """
    return by_test_language(mean_influence(_scores(influence, checkpoint)))


def expected_share(influence: Influence) -> xr.DataArray:
    """Percentage of the training examples in each language: the share of a top k drawn at random.

    Returns: [train_language], percent; sums to 100.
    """
    found = chance(influence.dataset["train_language"])
    return (
        found["expected_percent"].assign_coords(n_train=found["n_train"]).rename("expected_percent")
    )


def _scores(influence: Influence, checkpoint: int | None) -> xr.DataArray:
    return influence.total() if checkpoint is None else influence.at(checkpoint)


def _shares(
    influence: Influence, ks: Sequence[int], sign: Sign, checkpoint: int | None
) -> xr.DataArray:
    """[k, test, train_language]."""
    shares = top_shares(_scores(influence, checkpoint), ks, sign)
    return shares.assign_attrs(method=influence.method)


def _only_k(shares: xr.DataArray) -> xr.DataArray:
    return shares.isel(k=0, drop=True).assign_attrs(k=int(shares["k"][0]))


def _warn_of_large_k(k: int, n_train: int) -> None:
    if k > n_train / 3:
        warnings.warn(
            f"k is {k} of {n_train} training examples: above a third of them, shares approach the "
            "proportions of the training set whatever the influence",
            SprachbundWarning,
            stacklevel=3,
        )
