"""Limits for bounded values, against the binomial distribution and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from sprachbund.analysis.bounded import hoeffding_limits


@pytest.mark.parametrize("n", [2, 5, 15, 40])
def test_coin_tosses_are_covered_at_least_as_often_as_claimed(n: int) -> None:
    count = np.arange(n + 1)
    low, high = hoeffding_limits(count / n, np.full(n + 1, float(n)))
    for p in np.linspace(0.001, 0.999, 200):
        inside = (low <= p) & (p <= high)
        assert binom.pmf(count, n, p)[inside].sum() >= 0.95


@pytest.mark.parametrize("n", [2, 5, 15, 40])
def test_limits_of_no_success_and_of_all_are_those_of_clopper_and_pearson(n: int) -> None:
    low, high = hoeffding_limits(np.array([0.0, 1.0]), np.array([n, n]))
    for place, successes in enumerate((0, n)):
        exact = binomtest(successes, n).proportion_ci(0.95, "exact")
        assert low[place] == pytest.approx(exact.low, abs=1e-12)
        assert high[place] == pytest.approx(exact.high, abs=1e-12)


@given(mean=st.floats(0, 1), n=st.floats(1, 1000))
def test_the_mean_is_within_and_the_limits_mirror_each_other(mean: float, n: float) -> None:
    low, high = hoeffding_limits(np.array([mean]), np.array([n]))
    assert 0 <= low <= mean <= high <= 1
    other_low, other_high = hoeffding_limits(np.array([1 - mean]), np.array([n]))
    assert other_low == pytest.approx(1 - high, abs=1e-9)
    assert other_high == pytest.approx(1 - low, abs=1e-9)


def test_weighted_means_are_covered_too() -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(8), size=2000)
    for p in (0.02, 0.3, 0.9):
        mean = (weights * (rng.random(weights.shape) < p)).sum(axis=1)
        low, high = hoeffding_limits(mean, 1 / weights.max(axis=1))
        assert ((low <= p) & (p <= high)).mean() >= 0.95
