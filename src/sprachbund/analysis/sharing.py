"""Whose training examples are among the top k of each language's test examples.

Choenni et al. (2023) call this cross-lingual data sharing.
"""

import warnings

import numpy as np
import pandas as pd
import xarray as xr

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
    shares = example_share(influence, k, sign, checkpoint)
    languages = list(influence.test_languages)
    codes = pd.Index(languages).get_indexer(shares["test_language"].values.tolist())
    counts = np.bincount(codes, minlength=len(languages))
    sums = np.zeros((len(languages), shares.sizes["train_language"]))
    np.add.at(sums, codes, shares.values)
    return xr.DataArray(
        sums / counts[:, None],
        dims=("test_language", "train_language"),
        coords={
            "test_language": languages,
            "train_language": shares["train_language"].values,
            "n_test": ("test_language", counts),
            "expected_percent": expected_share(influence),
        },
        name="share_percent",
        attrs=shares.attrs,
    )


def example_share(
    influence: Influence, k: int = 100, sign: Sign = "proponents", checkpoint: int | None = None
) -> xr.DataArray:
    """Percentage of each single test example's top k that each training language contributes.

    Returns: [test, train_language], percent; rows sum to 100; with the coordinates of the test
    examples (`test_language`, `test_item`, ...), so that they can be averaged and resampled.
    Raises: InfluenceError if k exceeds the number of training examples.
    """
    top = influence.top_k(k, sign, checkpoint)
    _warn_of_large_k(k, influence.dataset.sizes["train"])
    languages = list(influence.train_languages)
    train_language = influence.dataset["train_language"].values.tolist()
    of_train = pd.Index(languages).get_indexer(train_language)
    n_test, n_languages = top.sizes["test"], len(languages)
    cells = of_train[top["train_index"].values] + n_languages * np.arange(n_test)[:, None]
    counts = np.bincount(cells.ravel(), minlength=n_test * n_languages)
    return xr.DataArray(
        100.0 * counts.reshape(n_test, n_languages) / k,
        dims=("test", "train_language"),
        coords={**top.drop_vars("rank").coords, "train_language": languages},
        name="share_percent",
        attrs={"k": k, "sign": sign, "method": influence.method},
    )


def expected_share(influence: Influence) -> xr.DataArray:
    """Percentage of the training examples in each language: the share of a top k drawn at random.

    Returns: [train_language], percent; sums to 100.
    """
    languages = list(influence.train_languages)
    train_language = influence.dataset["train_language"].values.tolist()
    counts = np.bincount(pd.Index(languages).get_indexer(train_language))
    return xr.DataArray(
        100.0 * counts / len(train_language),
        dims="train_language",
        coords={"train_language": languages, "n_train": ("train_language", counts)},
        name="expected_percent",
    )


def _warn_of_large_k(k: int, n_train: int) -> None:
    if k > n_train / 3:
        warnings.warn(
            f"k is {k} of {n_train} training examples: above a third of them, shares approach the "
            "proportions of the training set whatever the influence",
            SprachbundWarning,
            stacklevel=4,
        )
