"""Runs that differ by seed, averaged."""

import math
import statistics

import numpy as np
import pytest

from sprachbund.analysis.seeds import over_seeds
from sprachbund.analysis.sharing import language_share
from sprachbund.errors import InfluenceError
from synthetic_influence import in_memory, scores

TRAIN, TEST = ["de", "en", "en"] * 8, ["ko", "en", "de"]


def share(seed: int, test: list[str] = TEST):  # type: ignore[no-untyped-def]
    return language_share(in_memory(scores(3, len(test), len(TRAIN), seed), TRAIN, test), 5)


def test_mean_and_deviation_are_those_of_the_textbook() -> None:
    shares = {seed: share(seed) for seed in (3, 1, 2)}
    combined = over_seeds(shares)
    assert combined.attrs["n_seeds"] == 3
    for test_language in ("ko", "en", "de"):
        for train_language in ("de", "en"):
            cell = {"test_language": test_language, "train_language": train_language}
            numbers = [float(found.sel(cell)) for found in shares.values()]
            assert float(combined["mean"].sel(cell)) == pytest.approx(statistics.mean(numbers))
            assert float(combined["seed_standard_deviation"].sel(cell)) == pytest.approx(
                statistics.stdev(numbers)
            )


def test_one_seed_has_no_deviation_rather_than_zero() -> None:
    combined = over_seeds({0: share(0)})
    np.testing.assert_array_equal(combined["mean"], share(0))
    assert all(math.isnan(x) for x in combined["seed_standard_deviation"].values.ravel())


def test_runs_over_other_languages_are_not_averaged() -> None:
    with pytest.raises(InfluenceError, match="seeds 0 and 1 cannot be averaged: test_language is"):
        over_seeds({0: share(0), 1: share(1, ["ko", "en", "fr"])})


def test_no_run_is_an_error() -> None:
    with pytest.raises(InfluenceError, match="no run"):
        over_seeds({})
