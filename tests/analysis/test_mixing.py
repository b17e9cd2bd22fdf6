"""Mixes of languages: paired changes, contributions, pairs and own shares against numbers made by hand."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from sprachbund.analysis.mixing import (
    accuracy,
    accuracy_change,
    contributions,
    correctness,
    gains_of_pairs,
    own_shares,
)
from sprachbund.errors import InfluenceError

LANGUAGES = ["en", "en", "en", "en", "ko", "ko"]


def right(*rows: str, languages: list[str] = LANGUAGES) -> xr.DataArray:
    """ "a 110010": the mix a is right where there is a 1; every test example is an item of its own."""
    names = [row.split()[0] for row in rows]
    values = [[100.0 * int(mark) for mark in row.split()[1]] for row in rows]
    n_test = len(languages)
    return xr.DataArray(
        np.array(values),
        dims=("mix", "test"),
        coords={
            "mix": names,
            "test": [f"t{i}" for i in range(n_test)],
            "test_language": ("test", np.array(languages, dtype=object)),
            "test_item": ("test", np.array([f"i{i}" for i in range(n_test)], dtype=object)),
            "test_group": ("test", np.array([""] * n_test, dtype=object)),
        },
    )


def frame(predictions: list[str]) -> pd.DataFrame:
    columns = {"id": ["a", "b", "c"], "language": ["en", "en", "ko"], "item": "", "group": ""}
    return pd.DataFrame({**columns, "label": ["x", "y", "x"], "prediction": predictions})


def test_an_example_counts_100_where_its_label_is_predicted() -> None:
    found = correctness({"one": frame(["x", "x", "x"]), "two": frame(["y", "y", "x"])})
    assert found.dims == ("mix", "test")
    np.testing.assert_array_equal(found.values, [[100, 0, 100], [0, 100, 100]])
    assert found["test_language"].values.tolist() == ["en", "en", "ko"]


def test_mixes_measured_on_other_examples_cannot_be_compared() -> None:
    other = frame(["x", "x", "x"]).assign(id=["a", "b", "d"])
    with pytest.raises(InfluenceError, match="one and two were measured on different"):
        correctness({"one": frame(["x", "x", "x"]), "two": other})


CORRECT = {
    0: right("all 111010", "less 100010", "more 111111"),
    1: right("all 110001", "less 110000", "more 111011"),
}


def values(found: xr.DataArray, **cell: str) -> float:
    return float(found.sel(**cell))


def test_accuracy_is_the_mean_over_examples_and_seeds() -> None:
    found = accuracy(CORRECT)["mean"]
    assert values(found, mix="all", test_language="en") == (75 + 50) / 2
    assert values(found, mix="less", test_language="ko") == (50 + 0) / 2


def test_p_values_are_those_of_the_intervals_and_q_values_of_all_cells() -> None:
    """English gains in every run, Korean is tossed up: five runs of 40 examples each."""
    rng = np.random.default_rng(3)

    def tossed(chance: float, n: int) -> str:
        return "".join("1" if hit else "0" for hit in rng.random(n) < chance)

    languages = ["en"] * 40 + ["ko"] * 40
    correct = {
        seed: right(
            f"all {tossed(0.9, 40)}{tossed(0.5, 40)}",
            f"less {tossed(0.2, 40)}{tossed(0.5, 40)}",
            languages=languages,
        )
        for seed in range(5)
    }
    found = contributions(correct, "all", {"de": "less"}).isel(left_out=0)
    p, q = found["p_value"].values, found["q_value"].values
    excludes = ((found["low"] > 0) | (found["high"] < 0)).values
    np.testing.assert_array_equal(p <= 0.05, excludes)
    assert p[0] <= 0.01, "English gains"
    assert p[1] > 0.05, "Korean does not"
    np.testing.assert_allclose(q, [min(2 * p[0], p[1]), p[1]])  # Benjamini and Hochberg (1995)
    same = contributions(correct, "all", {"de": "all"})
    assert same["p_value"].isnull().all(), "what does not differ at all has no interval, and no p"


def test_a_change_is_against_the_same_seed() -> None:
    found = accuracy_change(CORRECT, "all")
    assert found["mean"].sel(mix="all").values.tolist() == [0, 0]
    assert values(found["mean"], mix="less", test_language="en") == (-50 + 0) / 2
    assert values(found["mean"], mix="more", test_language="ko") == (50 + 50) / 2
    deviation = found["seed_standard_deviation"]
    assert values(deviation, mix="less", test_language="en") == pytest.approx(np.std([-50, 0], ddof=1))  # fmt: skip


def test_where_two_mixes_are_right_alike_there_is_no_interval() -> None:
    found = accuracy_change(CORRECT, "all").sel(mix="all")
    assert found["mean"].values.tolist() == [0, 0]
    assert np.isnan(found["low"]).all()
    assert np.isnan(found["high"]).all()


def test_intervals_are_paired_by_test_example() -> None:
    """Mixes that are wrong about nearly the same examples: their difference is surer than either accuracy."""
    rng = np.random.default_rng(0)
    marks = rng.random(400) < 0.5
    other = marks ^ (rng.random(400) < 0.05)
    rows = [name + " " + "".join(map(str, m.astype(int))) for name, m in (("a", marks), ("b", other))]  # fmt: skip
    found = accuracy_change({0: right(*rows, languages=["en"] * 400)}, "a").sel(
        mix="b", test_language="en"
    )
    difference = 100.0 * other - 100.0 * marks
    error = difference.std(ddof=1) / 20  # of a mean over 400
    width = float(found["high"] - found["low"])
    assert width == pytest.approx(2 * 1.96 * error, rel=0.15), (
        "a normal interval of the differences"
    )
    unpaired = np.hypot(50 / 20, 50 / 20)
    assert width < 2 * 1.96 * unpaired / 2


def test_a_contribution_is_above_zero_where_the_language_helps() -> None:
    correct = {0: right("all 111100", "no-en 110000", "no-de 111111")}
    found = contributions(correct, "all", {"en": "no-en", "de": "no-de"})["mean"]
    assert found.dims == ("left_out", "test_language")
    assert found.sel(left_out="en").values.tolist() == [50, 0]
    assert found.sel(left_out="de").values.tolist() == [0, -100]


def test_a_pair_is_held_against_the_better_of_the_two_for_each_test_language() -> None:
    correct = {
        0: right("a 111000", "b 100011", "c 111100", "a+b 111101", "a+c 110000"),
        1: right("a 110000", "b 100001", "c 110000", "a+b 110011", "a+c 110000"),
    }
    found = gains_of_pairs(correct, {("a", "b"): "a+b", ("a", "c"): "a+c"})
    assert found["better"].dims == ("pair", "test_language")
    # Korean: neither a nor c is ever right; the first is named.
    assert found["better"].values.tolist() == [["a", "b"], ["c", "a"]]
    gains = found["mean"]
    assert values(gains, pair="a+b", test_language="en") == (25 + 0) / 2
    assert values(gains, pair="a+b", test_language="ko") == (-50 + 50) / 2
    assert values(gains, pair="a+c", test_language="en") == (-50 + 0) / 2


def share_of(own: dict[str, list[float]], expected: dict[str, float]) -> xr.Dataset:
    """Shares by test language and training language, with limits one percent off."""
    mean = xr.DataArray(
        list(own.values()),
        dims=("test_language", "train_language"),
        coords={
            "test_language": list(own),
            "train_language": list(expected),
            "expected_percent": ("train_language", list(expected.values())),
            "n_test": ("test_language", [5] * len(own)),
        },
    )
    return xr.Dataset(
        {
            "mean": mean,
            "low": mean - 1,
            "high": mean + 1,
            "seed_standard_deviation": xr.zeros_like(mean),
            "signs_agree": mean != 20,
        }
    )


def test_own_shares_stand_beside_the_part_of_the_training_data() -> None:
    found = own_shares(
        {
            "study": share_of({"en": [60, 40], "de": [45, 55], "ko": [50, 50]}, {"en": 50, "de": 50}),
            "more": share_of({"en": [90, 10], "de": [80, 20], "ko": [70, 30]}, {"en": 75, "de": 25}),
            "without": share_of({"en": [100], "de": [100], "ko": [100]}, {"en": 100}),
        }
    )  # fmt: skip
    np.testing.assert_array_equal(
        found["mean"], [[60, 55, np.nan], [90, 20, np.nan], [100, np.nan, np.nan]]
    )
    np.testing.assert_array_equal(
        found["expected_percent"], [[50, 50, np.nan], [75, 25, np.nan], [100, np.nan, np.nan]]
    )
    assert values(found["lift"], mix="more", test_language="de") == 0.8
    assert values(found["low"], mix="more", test_language="en") == 89
    assert found["signs_agree"].dtype == bool, "of the mixes without the language too"
    np.testing.assert_array_equal(
        found["signs_agree"], [[True, True, True], [True, False, True], [True, True, True]]
    )
    assert found["mix"].values.tolist() == ["study", "more", "without"]
