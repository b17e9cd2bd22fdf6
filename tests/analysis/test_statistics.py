"""Clusters, errors and intervals, against statsmodels and every possible resample."""

import itertools
import math

import numpy as np
import pytest
import statsmodels.api
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_values import example_values
from scipy.optimize import brentq
from scipy.stats import binomtest

from sprachbund.analysis.statistics import (
    PERCENT,
    UNBOUNDED,
    example_clusters,
    mean_intervals,
    ratio_intervals,
    standard_error,
)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def partition(codes: np.ndarray) -> list[list[int]]:
    return [np.flatnonzero(codes == code).tolist() for code in range(codes.max() + 1)]


def test_an_example_with_neither_group_nor_item_is_a_cluster_of_its_own() -> None:
    values = example_values(normal(3), ("test",))
    assert partition(example_clusters(values)) == [[0], [1], [2]]


def test_translations_of_one_item_are_one_cluster_in_all_languages() -> None:
    values = example_values(normal(5), ("test",), item=["a", "b", "a", "b", ""])
    assert partition(example_clusters(values)) == [[0, 2], [1, 3], [4]]


def test_the_items_of_one_premise_are_one_cluster() -> None:
    values = example_values(
        normal(5), ("test",), item=["a", "b", "c", "a", "c"], group=["p", "p", "q", "p", "q"]
    )
    assert partition(example_clusters(values)) == [[0, 1, 3], [2, 4]]


def test_examples_linked_through_others_are_one_cluster() -> None:
    # The group of item b is known in one language only: its translation belongs to it all the same.
    values = example_values(
        normal(4), ("test",), item=["a", "b", "b", "c"], group=["p", "p", "", ""]
    )
    assert partition(example_clusters(values)) == [[0, 1, 2], [3]]


def test_a_group_and_an_item_of_the_same_name_are_not_the_same() -> None:
    values = example_values(normal(2), ("test",), item=["0", "1"], group=["1", ""])
    assert partition(example_clusters(values)) == [[0], [1]]


def test_standard_errors_are_those_of_statsmodels() -> None:
    groups = list("aabbbcddddeefgggg")
    values = example_values(normal(2, 17) + 5, ("k", "test"), group=groups)
    found = standard_error(values)
    assert found.dims == ("k", "test_language")
    codes = np.array([ord(name) for name in groups])
    for k in range(2):
        ones = np.ones((17, 1))
        fit = statsmodels.api.OLS(values.values[k], ones).fit(
            cov_type="cluster", cov_kwds={"groups": codes, "use_correction": True}
        )
        # statsmodels also multiplies by (N - 1) / (N - 1 parameter), which is 1 here.
        assert float(found[k, 0]) == pytest.approx(fit.bse[0])


def by_every_resample(tops: list[float], bottoms: list[float]) -> tuple[float, float]:
    """The 95% bootstrap-t interval of sum / sum, from all G^G resamples, in plain Python."""

    def estimate(chosen: tuple[int, ...]) -> tuple[float, float]:
        n = len(chosen)
        bottom = math.fsum(bottoms[c] for c in chosen)
        ratio = math.fsum(tops[c] for c in chosen) / bottom
        square = math.fsum((tops[c] - ratio * bottoms[c]) ** 2 for c in chosen)
        return ratio, math.sqrt(square * n / (n - 1)) / bottom

    everything = tuple(range(len(tops)))
    ratio, error = estimate(everything)
    ts = []
    for chosen in itertools.product(everything, repeat=len(everything)):
        resampled, resampled_error = estimate(chosen)
        if resampled_error > 1e-9:
            ts.append((resampled - ratio) / resampled_error)
        else:
            ts.append(math.copysign(math.inf, resampled - ratio))
    ts.sort()
    tail = math.ceil(0.025 * len(ts))
    return ratio - ts[-tail] * error, ratio - ts[tail - 1] * error


def test_intervals_are_those_of_every_possible_resample() -> None:
    tops, bottoms = [3.1, 0.4, 2.2, 5.0, 1.7, 2.9], [2.0, 1.0, 2.0, 3.0, 1.0, 1.0]
    low, high = by_every_resample(tops, bottoms)
    found = ratio_intervals(
        example_values(np.array(tops), ("test",)),
        example_values(np.array(bottoms), ("test",)),
        n_resamples=200_000,
    )
    # 200,000 of the 46,656 resamples, drawn with replacement: near, not equal.
    assert float(found["mean"][0]) == pytest.approx(sum(tops) / sum(bottoms))
    assert float(found["low"][0]) == pytest.approx(low, abs=0.03)
    assert float(found["high"][0]) == pytest.approx(high, abs=0.03)
    assert found["n_clusters"].values.tolist() == [6]


def test_the_same_clusters_are_drawn_for_all_languages() -> None:
    one = normal(20, seed=3)
    order = np.random.default_rng(1).permutation(20)
    items = [str(i) for i in range(20)]
    values = example_values(
        np.concatenate([one, one[order]]),
        ("test",),
        language=["en"] * 20 + ["ko"] * 20,
        item=items + [items[i] for i in order],
    )
    found = mean_intervals(values)
    english, korean = (found.sel(test_language=language) for language in ("en", "ko"))
    # The same value for every item in both languages: other draws would give other limits.
    xr.testing.assert_allclose(
        english.drop_vars("test_language"), korean.drop_vars("test_language")
    )


def test_copies_of_an_example_within_its_cluster_tell_nothing_new() -> None:
    items = [str(i) for i in range(12)]
    one = mean_intervals(example_values(normal(12), ("test",), item=items))
    three = mean_intervals(example_values(np.tile(normal(12), 3), ("test",), item=items * 3))
    for name in ("mean", "low", "high", "n_clusters"):
        np.testing.assert_allclose(one[name], three[name], err_msg=name)
    free = mean_intervals(example_values(np.tile(normal(12), 3), ("test",)))
    assert (free["high"] - free["low"] < 0.7 * (one["high"] - one["low"])).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_intervals_follow_the_unit_of_the_values(seed: int, scale: float, shift: float) -> None:
    values = normal(2, 9, 3, seed=seed)
    language = ["en", "ko", "en"] * 3
    item = [str(i // 3) for i in range(9)]
    plain = mean_intervals(
        example_values(values, ("k", "test", "x"), language=language, item=item), n_resamples=199
    )
    changed = mean_intervals(
        example_values(shift - scale * values, ("k", "test", "x"), language=language, item=item),
        n_resamples=199,
    )
    for name, opposite in (("mean", "mean"), ("low", "high"), ("high", "low")):
        np.testing.assert_allclose(
            changed[name], shift - scale * plain[opposite], rtol=1e-6, atol=1e-6
        )


def test_every_cell_is_treated_alike_however_many_there_are() -> None:
    values = normal(6, 700, seed=5)
    found = mean_intervals(example_values(values, ("test", "cell")), n_resamples=199)
    order = np.random.default_rng(0).permutation(700)
    other = mean_intervals(example_values(values[:, order], ("test", "cell")), n_resamples=199)
    np.testing.assert_allclose(other["high"], found["high"].values[:, order])
    assert (found["low"] < found["mean"]).all()
    assert (found["mean"] < found["high"]).all()


def test_what_is_missing_is_left_out() -> None:
    values = normal(8)
    missing = np.where(np.arange(8) == 3, np.nan, values)
    found = mean_intervals(example_values(missing, ("test",)))
    assert float(found["mean"][0]) == pytest.approx(np.delete(values, 3).mean())
    assert found["n_clusters"].values.tolist() == [7]
    without = standard_error(example_values(np.delete(values, 3), ("test",)))
    np.testing.assert_allclose(standard_error(example_values(missing, ("test",))), without)


def test_nothing_at_all_has_neither_mean_nor_limits() -> None:
    found = mean_intervals(example_values(np.full(8, np.nan), ("test",)))
    assert all(np.isnan(found[name]).all() for name in ("mean", "low", "high"))


@pytest.mark.parametrize("value", [0.0, 1 / 3, 1e6])
def test_equal_values_do_not_tell_how_far_the_mean_could_be_off(value: float) -> None:
    found = mean_intervals(example_values(np.full(8, value), ("test",)))
    assert float(found["mean"][0]) == pytest.approx(value)
    assert np.isnan(found["low"]).all()
    assert np.isnan(found["high"]).all()


@pytest.mark.parametrize("successes", [0, 8])
def test_equal_values_at_a_bound_are_known_as_well_as_coin_tosses(successes: int) -> None:
    values = np.full(8, 100.0 * successes / 8)
    found = mean_intervals(example_values(values, ("test",)), PERCENT)
    exact = binomtest(successes, 8).proportion_ci(0.95, "exact")
    assert float(found["low"][0]) == pytest.approx(100 * exact.low, abs=1e-9)
    assert float(found["high"][0]) == pytest.approx(100 * exact.high, abs=1e-9)


def test_one_cluster_does_not_tell_how_far_the_mean_could_be_off() -> None:
    values = example_values(normal(4), ("test",), group=["p"] * 4)
    for bounds in (UNBOUNDED, PERCENT):
        assert np.isnan(mean_intervals(values, bounds)["low"]).all()
    assert np.isnan(standard_error(values)).all()


def test_where_one_cluster_makes_all_of_the_share_its_bounds_limit_it() -> None:
    shares = np.zeros(25)
    shares[4] = 10.0
    found = mean_intervals(example_values(shares, ("test",)), PERCENT)
    assert float(found["mean"][0]) == pytest.approx(0.4)
    # Hoeffding (1963), Theorem 1: n KL(m, p) = log(2 / 0.05).
    high = brentq(
        lambda p: (
            25 * (0.004 * math.log(0.004 / p) + 0.996 * math.log(0.996 / (1 - p))) - math.log(40)
        ),
        0.0041,
        0.9,
    )
    assert float(found["high"][0]) == pytest.approx(100 * high)
    assert 0 <= float(found["low"][0]) < 0.4
    assert float(mean_intervals(example_values(shares, ("test",)))["high"][0]) == np.inf


def test_a_bound_on_one_side_is_kept_to_and_nothing_else_follows_from_it() -> None:
    values = example_values(normal(25) - normal(25).mean() + 0.01, ("test",))
    free, bounded = mean_intervals(values), mean_intervals(values, (0.0, np.inf))
    assert float(free["low"][0]) < 0 <= float(bounded["low"][0])
    assert float(bounded["high"][0]) == float(free["high"][0])


def test_a_higher_level_gives_a_wider_interval() -> None:
    values = example_values(normal(25), ("test",))
    widths = [
        float((found["high"] - found["low"])[0])
        for found in (mean_intervals(values, level=level) for level in (0.5, 0.9, 0.99))
    ]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1] / 2


def test_the_same_seed_gives_the_same_interval_and_another_nearly_the_same() -> None:
    values = example_values(normal(25), ("test",))
    first, again, other = (mean_intervals(values, seed=seed) for seed in (0, 0, 1))
    xr.testing.assert_identical(first, again)
    assert float(first["low"][0]) != float(other["low"][0])
    np.testing.assert_allclose(first["low"], other["low"], atol=0.05)


def test_several_languages_can_be_averaged_as_one() -> None:
    values = example_values(normal(12), ("test",), language=["en", "de"] * 6)
    pooled = mean_intervals(values.assign_coords(test_language=("test", ["all"] * 12)))
    assert pooled["test_language"].values.tolist() == ["all"]
    assert float(pooled["mean"][0]) == pytest.approx(values.values.mean())
