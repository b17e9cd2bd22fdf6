"""Drops, paired differences and verdicts of the removal check, on numbers made by hand."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import false_discovery_control

from sprachbund.analysis.latex import latex
from sprachbund.analysis.removal import differences, drops, mean_drops, verdicts
from sprachbund.analysis.removal_noise import retraining_error, retraining_variance
from sprachbund.analysis.removal_tables import difference_table, drop_table
from sprachbund.analysis.seeds import combine_seeds
from sprachbund.analysis.statistics import mean_intervals

LANGUAGES = ["en"] * 12 + ["de"] * 4
RNG = np.random.default_rng(0)


def frame(losses: dict[tuple, np.ndarray], before: float = 0.9) -> pd.DataFrame:
    """Rows from {(seed, criterion, k, draw): loss of probability [test]}."""
    rows = []
    for (seed, criterion, k, draw), loss in losses.items():
        for i, value in enumerate(loss):
            rows.append(
                {
                    "seed": seed,
                    "criterion": criterion,
                    "k": k,
                    "draw": draw,
                    "target": "",
                    "test": f"test-{i}",
                    "test_language": LANGUAGES[i],
                    "test_item": "",
                    "test_group": "",
                    "label": "yes",
                    "predicted": "yes" if i % 2 else "no",
                    "predicted_without": "yes",
                    "probability": before,
                    "probability_without": before - value,
                    "label_probability": 0.5,
                    "label_probability_without": 0.5 - value / 2,
                }
            )
    return pd.DataFrame(rows)


def noise(scale: float) -> np.ndarray:
    return RNG.normal(scale=scale, size=len(LANGUAGES))


def losses(better: float, seeds=(0,), ks=(50,), draws=1) -> dict[tuple, np.ndarray]:
    """Influence takes `better` more than either control, on examples of very different losses."""
    found = {}
    for seed, k in product(seeds, ks):
        common = noise(0.1)
        found[seed, "influence", k, 0] = common + better + noise(0.01)
        found[seed, "bm25", k, 0] = common + noise(0.01)
        for draw in range(draws):
            found[seed, "random", k, draw] = common + noise(0.01)
    return found


def test_drops_are_in_points_of_the_predicted_class_the_label_and_flips():
    (values,) = drops(frame(losses(0.05))).values()
    assert values.dims == ("measure", "criterion", "k", "draw", "test")
    given = losses(0.05)
    found = drops(frame(given))[0].sel(criterion="bm25", k=50, draw=0)
    np.testing.assert_allclose(found.sel(measure="predicted_drop"), 100 * given[0, "bm25", 50, 0])
    np.testing.assert_allclose(found.sel(measure="label_drop"), 50 * given[0, "bm25", 50, 0])
    assert found.sel(measure="flips").values.tolist() == [100.0, 0.0] * 8
    assert found["test_language"].values.tolist() == LANGUAGES


def test_mean_drops_average_the_draws_and_end_with_all_languages():
    given = losses(0.05, draws=2)
    found = mean_drops(frame(given))["mean"].sel(measure="predicted_drop", k=50)
    assert found["test_language"].values.tolist() == ["en", "de", "all"]
    assert found["criterion"].values.tolist() == ["influence", "bm25", "random"]
    draws = np.mean([given[0, "random", 50, draw] for draw in range(2)], axis=0)
    expected = [draws[:12].mean(), draws[12:].mean(), draws.mean()]
    np.testing.assert_allclose(found.sel(criterion="random"), 100 * np.array(expected))


def test_differences_are_paired_by_test_example():
    given = losses(0.03)
    found = differences(frame(given), "language").sel(measure="predicted_drop", k=50)
    by_hand = xr.DataArray(
        100 * (given[0, "influence", 50, 0] - given[0, "bm25", 50, 0]),
        dims="test",
        coords={
            "test_language": ("test", LANGUAGES),
            "test_item": ("test", [""] * 16),
            "test_group": ("test", [""] * 16),
        },
    )
    expected = mean_intervals(by_hand, (-100, 100))
    cells = found.sel(control="bm25", test_language=["en", "de"])
    for name in ("mean", "low", "high", "n_clusters"):
        np.testing.assert_allclose(cells[name], expected[name], err_msg=name)
    drop = mean_drops(frame(given)).sel(measure="predicted_drop", k=50, test_language="all")
    unpaired = (drop["high"] - drop["low"]).min()
    paired = found.sel(test_language="all")["high"] - found.sel(test_language="all")["low"]
    assert (paired < unpaired / 3).all(), "what the examples have in common must cancel"


def test_several_seeds_are_joined_as_everywhere():
    given = losses(0.03, seeds=(0, 1, 2), draws=4)
    found = differences(frame(given), "language")
    assert found.attrs["noise"] == "seeds"
    pairs = {}
    for seed, values in drops(frame(given)).items():
        average = values.mean("draw")
        pairs[seed] = average.sel(criterion="influence") - average.sel(criterion="bm25")
    expected = combine_seeds(
        {s: p.drop_vars("criterion", errors="ignore") for s, p in pairs.items()}, 0.0, (-100, 100)
    )
    cells = found.sel(control="bm25", test_language=["en", "de"])
    for name in ("mean", "low", "high", "seed_standard_deviation"):
        np.testing.assert_allclose(cells[name], expected[name].transpose(*cells[name].dims))


def shifted(shifts: np.ndarray, ks=(50,)) -> xr.DataArray:
    """Drops in which each random draw moves all test examples alike, [measure, criterion, ...]."""
    given = {}
    for k in ks:
        base = noise(0.1)
        given[0, "influence", k, 0], given[0, "bm25", k, 0] = base + 0.2, base
        for draw, shift in enumerate(shifts):
            given[0, "random", k, draw] = base + shift
    return drops(frame(given))[0]


@pytest.mark.parametrize("ks", [(50,), (50, 100)])
def test_the_noise_of_retraining_is_the_deviation_between_random_draws(ks):
    shifts = np.array([0.0, 0.01, 0.03, -0.02])
    values = shifted(shifts, ks)
    variance = 100**2 * shifts.var(ddof=1)
    found = retraining_variance(values.sel(criterion="random", measure="predicted_drop"))
    np.testing.assert_allclose(found, variance)
    error = retraining_error(values, "language").sel(measure="predicted_drop")
    assert error.attrs["degrees_of_freedom"] == 3 * len(ks)
    # One retraining for each of two languages, of 12 and of 4 test examples; four random draws.
    own = np.array([1, 1, (12 / 16) ** 2 + (4 / 16) ** 2]) * variance
    np.testing.assert_allclose(error.sel(control="bm25"), np.sqrt(2 * own))
    np.testing.assert_allclose(error.sel(control="random"), np.sqrt(own + variance / 4))


def test_single_examples_share_only_the_noise_of_the_random_draws():
    values = shifted(np.array([0.0, 0.01, 0.03, -0.02]))
    error = retraining_error(values, "example").sel(measure="predicted_drop")
    language = retraining_error(values, "language").sel(measure="predicted_drop")
    assert (error.sel(control="bm25") == 0).all()
    of_random = error.sel(control="random", test_language="en")
    assert float(of_random) == pytest.approx(float(language.sel(control="random")[0]) / 5**0.5)


def test_what_single_examples_do_by_chance_is_no_noise_of_retraining():
    variances = []
    for _ in range(20):
        given = losses(0.0, draws=5)
        values = drops(frame(given))[0].sel(criterion="random", measure="predicted_drop")
        variances.append(float(retraining_variance(values).sel(test_language="en")))
    # Each mean of 12 varies by 1 / 12 (in points, squared); what is left is rounding by clipping.
    assert np.mean(variances) < 0.5 / 12


def test_the_noise_of_retraining_widens_the_interval_and_is_said():
    shifts = np.array([0.0, 0.02, 0.03, -0.05])
    given = losses(0.03)
    few = frame(given)
    more = {(0, "random", 50, d): given[0, "random", 50, 0] + s for d, s in enumerate(shifts)}
    with_draws = differences(frame(given | more), "language")
    without = differences(few, "language")
    assert (without.attrs["noise"], with_draws.attrs["noise"]) == ("unknown", "draws")
    assert "random_draws of 3 or more" in verdicts(without)[-1]
    assert "estimated from the draws" in verdicts(with_draws)[-1]
    cell = {"measure": "predicted_drop", "k": 50, "control": "bm25", "test_language": "all"}
    assert float(with_draws["low"].sel(cell)) < 0 < float(without["low"].sel(cell))


def test_p_values_agree_with_the_intervals_and_q_values_with_benjamini_and_hochberg():
    found = differences(frame(losses(0.004, ks=(50, 100, 250))), "language")
    excludes_zero = (found["low"] > 0) | (found["high"] < 0)
    known = found["low"].notnull()
    np.testing.assert_array_equal((found["p_value"] <= 0.05).where(known, False), excludes_zero)
    cells = found.sel(measure="predicted_drop")
    for languages in (["all"], ["en", "de"]):
        part = cells.sel(test_language=languages)
        expected = false_discovery_control(part["p_value"].values.ravel())
        np.testing.assert_allclose(part["q_value"].values.ravel(), expected)
    flips = found.sel(measure="flips")
    assert (flips["p_value"] == 1).all(), "all alike: no difference, and none excluded"
    assert ((flips["low"] < 0) & (flips["high"] > 0)).all()


@pytest.mark.parametrize(
    ("better", "says"),
    [
        (0.03, "influence beats bm25 at k=50: drop larger by "),
        (-0.03, "influence is worse than bm25 at k=50: drop smaller by "),
        (0.0, "no difference shown between influence and bm25 at k=50: drop "),
    ],
)
def test_verdicts_say_plainly_who_wins(better, says):
    found = differences(frame(losses(better)), "language")
    sentences = verdicts(found)
    assert len(sentences) == 3, "one for each control and k, and one on the intervals"
    assert sentences[0].startswith(says)
    cell = found.sel(measure="predicted_drop", control="bm25", k=50, test_language="all")
    mean, low, high = (float(cell[name]) for name in ("mean", "low", "high"))
    shown = (mean, low, high) if mean >= 0 else (-mean, -high, -low)
    assert "by {:.1f} points [{:.1f}, {:.1f}], q = ".format(*shown) in sentences[0]


def test_no_one_wins_where_seeds_disagree_in_sign():
    found = differences(frame(losses(0.03, seeds=(0, 1, 2))), "language")
    found["q_value"][:] = 0.01
    assert all("influence beats" in sentence for sentence in verdicts(found)[:-1])
    found["signs_agree"].loc[{"control": "bm25"}] = False
    bm25, random, _ = verdicts(found)
    assert bm25.startswith(
        "no difference shown between influence and bm25 at k=50: drop larger by "
    )
    assert bm25.endswith("q = 0.010, but seeds disagree in sign")
    assert random.startswith("influence beats random")
    printed_rows = latex(
        difference_table(found, "language"), difference_table(found, "language").layout
    )
    stars = [line.count("*") for line in printed_rows.splitlines() if line.startswith("predicted")]
    assert stars == [1, 1, 1], "a star for random, none for bm25"


def test_one_test_example_gives_no_verdict():
    one = frame(losses(0.05))
    sentences = verdicts(differences(one[one["test"] == "test-0"], "language"))
    assert sentences[0].endswith("but no interval (too few test examples, or all alike)")


def test_tables_are_set_and_captioned():
    given = frame(losses(0.03, ks=(50, 100), draws=3))
    found = differences(given, "language")
    table = difference_table(found, "language")
    tests = "16 test examples, 4 to 12 a language in 4 to 12 clusters"
    drop = drop_table(mean_drops(given), "language")
    for part in ("k = 50, 100", tests, "; 1 seed (0). ", "95 percent"):
        assert part in table.caption
        assert part in drop.caption
    several = frame(losses(0.03, seeds=(2, 5)))
    assert (
        "2 seeds (2, 5)" in difference_table(differences(several, "language"), "language").caption
    )
    assert "2 seeds (2, 5)" in drop_table(mean_drops(several), "language").caption
    assert {"q_value", "n_test", "low"} <= set(table.frame.columns)
    assert len(table.frame) == 3 * 2 * 3 * 2
    assert "bm25" in latex(table, table.layout)
    assert "influence" in latex(drop, drop.layout)
