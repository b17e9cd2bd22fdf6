"""Runs that differ by seed, averaged."""

import itertools
import math
import statistics

import numpy as np
import pytest
import xarray as xr
from made_up_values import example_values
from scipy.stats import t as student_t

from sprachbund.analysis.seeds import combine_seeds, join_seeds, over_seeds
from sprachbund.analysis.sharing import (
    example_share,
    example_shares,
    expected_share,
    language_share,
)
from sprachbund.analysis.statistics import PERCENT, mean_intervals
from sprachbund.errors import InfluenceError, SprachbundWarning
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


def runs(n_seeds: int, seed_deviation: float = 0.0, seed: int = 0) -> dict[int, xr.DataArray]:
    """Values of 30 test examples in two languages, translations of 15 items."""
    rng = np.random.default_rng(seed)
    tests = rng.normal(size=30)
    return {
        number: example_values(
            tests + seed_deviation * rng.normal() + 0.3 * rng.normal(size=30) + 10,
            ("test",),
            language=["en"] * 15 + ["ko"] * 15,
            item=[str(i) for i in range(15)] * 2,
        )
        for number in range(n_seeds)
    }


def test_the_estimate_is_the_mean_over_runs_and_the_deviation_that_between_them() -> None:
    found = combine_seeds(runs(3), 0.0)
    assert found.attrs["n_seeds"] == 3
    for language, rows in (("en", slice(0, 15)), ("ko", slice(15, 30))):
        means = [statistics.mean(run.values[rows].tolist()) for run in runs(3).values()]
        point = found.sel(test_language=language)
        assert float(point["mean"]) == pytest.approx(statistics.mean(means))
        assert float(point["seed_standard_deviation"]) == pytest.approx(statistics.stdev(means))


def test_the_interval_joins_both_errors() -> None:
    """By the two-way analysis of variance of the textbook, with each item once in a language."""
    given = {seed: run.isel(test=slice(15)) for seed, run in runs(3, 0.5).items()}
    found = combine_seeds(given, 0.0).sel(test_language="en")
    table = np.stack([run.values for run in given.values()])  # [run, test]
    grand, by_run, by_test = table.mean(), table.mean(1, keepdims=True), table.mean(0)
    square_of_runs = 15 * ((by_run - grand) ** 2).sum() / 2
    square_of_rest = ((table - by_run - by_test + grand) ** 2).sum() / (2 * 14)
    variance_of_runs = (square_of_runs - square_of_rest) / 15
    assert variance_of_runs > 0, "the case must not be trivial"
    radius = student_t.ppf(0.975, 2) * math.sqrt(variance_of_runs / 3)
    tests_alone = mean_intervals(sum(given.values()) / 3)  # type: ignore[arg-type]
    for limit in ("low", "high"):
        distance = float(tests_alone[limit][0]) - grand
        expected = grand + math.copysign(math.hypot(distance, radius), distance)
        assert float(found[limit]) == pytest.approx(expected), limit


def test_runs_that_do_not_differ_add_nothing_to_the_interval() -> None:
    one = runs(1)[0]
    found = combine_seeds({0: one, 1: one, 2: one}, 0.0)
    expected = mean_intervals(one)
    for limit in ("low", "high"):
        np.testing.assert_allclose(found[limit], expected[limit])
    np.testing.assert_allclose(found["seed_standard_deviation"], 0, atol=1e-12)


def test_one_run_has_its_own_interval_and_no_deviation() -> None:
    found = combine_seeds(runs(1), 0.0)
    expected = mean_intervals(runs(1)[0])
    for name in ("mean", "low", "high"):
        np.testing.assert_allclose(found[name], expected[name])
    assert np.isnan(found["seed_standard_deviation"]).all()
    assert found["signs_agree"].all()


def test_the_order_of_runs_does_not_matter() -> None:
    given = runs(3, 0.5)
    backwards = {seed: given[seed] for seed in (2, 1, 0)}
    xr.testing.assert_identical(combine_seeds(given, 0.0), combine_seeds(backwards, 0.0))


def test_an_example_that_is_missing_in_one_run_is_left_out_of_all() -> None:
    given = runs(3)
    given[1] = given[1].where(np.arange(30) != 4)
    kept = {seed: run.isel(test=[m for m in range(30) if m != 4]) for seed, run in given.items()}
    found, expected = combine_seeds(given, 0.0), combine_seeds(kept, 0.0)
    for name in ("mean", "seed_standard_deviation", "low", "high"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0.02, err_msg=name)
    np.testing.assert_allclose(found["mean"], expected["mean"])


def test_cells_where_seeds_disagree_in_sign_are_named() -> None:
    given = runs(3)
    given[2] = given[2].where(given[2]["test_language"] != "ko", given[2] - 10.5)
    with pytest.warns(SprachbundWarning) as caught:
        found = combine_seeds(given, 0.0)
    assert [str(warning.message) for warning in caught] == [
        "seeds 0, 1, 2 disagree on the sign of the effect in 1 of 2 cells: test_language=ko"
    ]
    assert found["signs_agree"].values.tolist() == [True, False]


@pytest.mark.filterwarnings("error::sprachbund.errors.SprachbundWarning")
def test_seeds_that_agree_are_not_warned_of() -> None:
    assert combine_seeds(runs(3), 0.0)["signs_agree"].all()


@pytest.mark.filterwarnings("ignore::sprachbund.errors.SprachbundWarning")
def test_shares_are_combined_against_their_chance_level() -> None:
    influences = {s: in_memory(scores(3, 3, len(TRAIN), s), TRAIN, TEST) for s in (1, 2, 3)}
    chance = expected_share(influences[1])
    given = {seed: example_shares(found, (4, 8)) for seed, found in influences.items()}
    found = combine_seeds(given, chance, PERCENT)
    assert found["mean"].dims == ("k", "test_language", "train_language")
    for k in (4, 8):
        shares = {seed: language_share(influence, k) for seed, influence in influences.items()}
        expected = over_seeds(shares)
        np.testing.assert_allclose(found["mean"].sel(k=k), expected["mean"])
        np.testing.assert_allclose(
            found["seed_standard_deviation"].sel(k=k), expected["seed_standard_deviation"]
        )
        for cell in itertools.product(TEST, ("de", "en")):
            at = dict(zip(("test_language", "train_language"), cell, strict=True))
            lifts = [
                float(share.sel(at) / chance.sel(train_language=at["train_language"]))
                for share in shares.values()
            ]
            agree = not (
                any(lift > 1 + 1e-9 for lift in lifts) and any(lift < 1 - 1e-9 for lift in lifts)
            )
            assert bool(found["signs_agree"].sel(k=k, **at)) == agree


def test_a_long_list_of_cells_is_cut() -> None:
    rng = np.random.default_rng(0)
    given = {
        seed: example_values(rng.normal(size=(5, 40)) + sign, ("test", "cell"))
        for seed, sign in ((1, 9), (2, -9))
    }
    with pytest.warns(SprachbundWarning, match=r"in 40 of 40 cells: .*cell=9, and 30 more$"):
        combine_seeds({s: run.assign_coords(cell=range(40)) for s, run in given.items()}, 0.0)


def test_runs_over_other_test_examples_are_not_combined() -> None:
    influences = {s: in_memory(scores(3, 3, len(TRAIN), s), TRAIN, TEST) for s in (0, 1)}
    given = {seed: example_share(found, 5) for seed, found in influences.items()}
    given[1] = given[1].assign_coords(test=["test-0", "test-1", "other"])
    with pytest.raises(
        InfluenceError, match=r"seeds 0 and 1 cannot be averaged: test is \['test-0'"
    ):
        combine_seeds(given, 50.0)
    with pytest.raises(InfluenceError, match="no run"):
        combine_seeds({}, 0.0)


def test_long_lists_that_differ_are_shown_where_they_differ() -> None:
    values = example_values(np.arange(50.0), ("test",))
    given = {
        1: values.assign_coords(test=[f"t{i}" for i in range(50)]),
        2: values.assign_coords(test=[f"t{i}" for i in range(49)] + ["other"]),
    }
    with pytest.raises(
        InfluenceError, match=r"test is \['t49'\] in the one, \['other'\] in the other"
    ):
        combine_seeds(given, 0.0)


def test_of_equal_denominators_a_ratio_has_the_interval_of_the_mean() -> None:
    given = runs(3, 0.5)
    stacked = xr.concat(list(given.values()), "run", coords="minimal", compat="override")
    ones, expected = xr.ones_like(stacked), combine_seeds(given, 0.0)
    found = join_seeds(mean_intervals(stacked.mean("run")), stacked, ones)
    for name in ("mean", "low", "high"):
        np.testing.assert_allclose(found[name], expected[name])
