"""Controls against loops and regressions of other libraries, and planted explanations."""

import numpy as np
import pytest
import xarray as xr
from equal_scores import mean_count, possible_tops
from made_up_values import score_matrix
from scipy.stats import spearmanr
from statsmodels.api import OLS, add_constant

from sprachbund.analysis.confounds import (
    label_agreement,
    lifts_after_controls,
    remaining_lift,
    share_by_label,
    without_language_means,
)
from sprachbund.analysis.properties import (
    rank_correlations,
    rank_correlations_within,
    residual,
    train_properties,
)
from sprachbund.errors import InfluenceError
from synthetic_influence import in_memory, scores

TRAIN, TEST = ["en", "de", "de", "fr"] * 15, ["ko", "en", "de"] * 4
RNG = np.random.default_rng


def normal(seed: int = 0, n_test: int = len(TEST), n_train: int = len(TRAIN)) -> xr.DataArray:
    tests = (TEST * n_test)[:n_test]
    values = RNG(seed).normal(size=(n_test, n_train)).round(1)
    return score_matrix(values, (TRAIN * n_train)[:n_train], tests)


def properties(n: int = len(TRAIN), seed: int = 1) -> xr.Dataset:
    rng = RNG(seed)
    found = {"length": rng.integers(1, 50, n), "norm": rng.random(n), "same": np.ones(n)}
    return xr.Dataset({name: ("train", values) for name, values in found.items()})


@pytest.mark.parametrize("sign", ["proponents", "opponents"])
def test_shares_by_label_are_those_of_a_ranking_of_these_examples_alone(sign: str) -> None:
    matrix, k = normal(), 6  # of 60: a tenth, also of those with a label
    found = share_by_label(matrix, k, sign)  # type: ignore[arg-type]
    labels = matrix["train_label"].values
    for m in range(len(TEST)):
        own = matrix["test_label"].values[m]
        for name, chosen in (("same label", labels == own), ("another label", labels != own)):
            (allowed,) = np.nonzero(chosen)
            tenth = round(len(allowed) / 10)
            tops = possible_tops(matrix.values[m, allowed], tenth, sign)
            row = found.sel(label=name).isel(test=m)
            for language in ("en", "de", "fr"):
                cell = row.sel(train_language=language)
                count = mean_count(tops, [TRAIN[n] == language for n in allowed])
                assert float(cell["share_percent"]) == pytest.approx(100 * count / tenth)
                expected = np.mean([TRAIN[n] == language for n in allowed])
                assert float(cell["expected_percent"]) == pytest.approx(100 * expected)


def test_a_stratum_that_nobody_has_is_refused_and_left_out_of_the_controls() -> None:
    matrix = normal()
    matrix = matrix.assign_coords(train_label=("train", np.full(len(TRAIN), "unheard", object)))
    with pytest.raises(InfluenceError, match="has a training example under “same label”"):
        share_by_label(matrix, 6)
    found = lifts_after_controls(matrix, properties(), 6)
    assert "same label" not in found["control"].values
    assert "under “same label”" in found.attrs["left_out"][0]


def test_test_examples_whose_label_was_not_trained_on_are_left_out_of_a_stratum_and_counted() -> (
    None
):
    matrix = normal()
    labels = matrix["train_label"].values.copy()
    absent = str(matrix["test_label"].values[0])
    labels[labels == absent] = "other"
    matrix = matrix.assign_coords(train_label=("train", labels))
    k, is_absent = 6, matrix["test_label"].values == absent
    found = share_by_label(matrix, k)["share_percent"].sel(label="same label")
    np.testing.assert_array_equal(found.isnull().all("train_language"), is_absent)
    sums = found.isel(test=np.flatnonzero(~is_absent)).sum("train_language")
    np.testing.assert_allclose(sums, 100)
    lifts = lifts_after_controls(matrix, properties(), k)
    (line,) = lifts.attrs["left_out"]
    assert line.startswith(
        f"{is_absent.sum()} of {len(is_absent)} test examples under “same label”"
    )
    remaining = remaining_lift({0: lifts})
    assert remaining.attrs["left_out"] == (line,)
    assert remaining["mean"].sel(control="same label").notnull().any()


def test_a_label_stratum_is_compared_with_a_top_as_deep() -> None:
    """Proponents all have the test example's label, so that ranking within it changes nothing, however deep it is.

    The own language is at the very top: a tenth of the label has more of it than the top k, five times as deep.
    """
    rng, n, k = RNG(5), 400, 40
    train = np.array(["en", "de", "fr", "es"] * (n // 4))
    labels = np.array(["one", "two", "three", "four", "five"], dtype=object)[np.arange(n) // 4 % 5]
    values = rng.normal(size=(40, n)) + 100.0 * (labels == "one")
    values[:, np.flatnonzero((labels == "one") & (train == "en"))[:8]] += 50.0
    matrix = score_matrix(
        values, list(train), ["en"] * 40, train_label=labels, test_label=["one"] * 40
    )
    found = remaining_lift({0: lifts_after_controls(matrix, properties(n), k)})
    own = found.isel(test_language=0).sel(train_language="en")
    label, plain = (own.sel(control=name) for name in ("same label", "none"))
    assert float(label["mean"]) == pytest.approx(4.0)  # the first eight of eighty
    assert float(plain["mean"]) < 2.5
    assert float(label["change"]) == pytest.approx(0, abs=1e-12)
    assert float(label["remaining_percent"]) == pytest.approx(100)
    assert (
        str(own["compared_with"].sel(control="same label").values) == "none, as deep as same label"
    )


def test_a_rare_label_is_not_taken_whole() -> None:
    """English examples are best for all; a tenth of a label's examples shows it, the top k would be the label."""
    rng, n = RNG(3), 400
    train = ["en", "de", "fr", "es"] * (n // 4)
    labels = np.array(["rare" if i % 40 < 8 else "common" for i in range(n)], dtype=object)
    values = rng.normal(size=(30, n)) + 3.0 * (np.array(train) == "en")
    matrix = score_matrix(values, train, ["ko"] * 30, train_label=labels, test_label=["rare"] * 30)
    found = share_by_label(matrix, 40).sel(label="same label", train_language="en")
    assert float(found["expected_percent"].mean()) == 25
    assert float(found["share_percent"].mean()) > 90


def test_label_agreement_is_a_count_against_chance() -> None:
    matrix = normal()
    found = label_agreement(matrix, 7)
    for m in range(len(TEST)):
        same = matrix["train_label"].values == matrix["test_label"].values[m]
        count = mean_count(possible_tops(matrix.values[m], 7, "proponents"), same)
        assert float(found["same_label_percent"][m]) == pytest.approx(100 * count / 7)
        assert float(found["expected_percent"][m]) == 50


def test_language_means_are_taken_out_one_test_example_at_a_time() -> None:
    matrix = normal()
    found = without_language_means(matrix).values
    for m in range(len(TEST)):
        for n in range(len(TRAIN)):
            same = [matrix.values[m, i] for i in range(len(TRAIN)) if TRAIN[i] == TRAIN[n]]
            assert found[m, n] == pytest.approx(matrix.values[m, n] - np.mean(same))


def test_residuals_are_those_of_statsmodels() -> None:
    matrix, given = normal(), properties()
    design = add_constant(np.column_stack([given["length"], given["norm"]]))
    found = residual(matrix, given)
    for m in range(len(TEST)):
        expected = OLS(matrix.values[m], design).fit().resid
        np.testing.assert_allclose(found.values[m], expected, atol=1e-10)


def test_collinear_and_constant_properties_do_no_harm() -> None:
    matrix, given = normal(), properties()
    doubled = given.assign(twice=2 * given["length"] + 3)
    np.testing.assert_allclose(residual(matrix, doubled), residual(matrix, given), atol=1e-9)
    centred = matrix - matrix.mean("train")
    np.testing.assert_allclose(residual(matrix, given[["same"]]), centred, atol=1e-12)


def test_rank_correlations_are_those_of_scipy_overall_and_within_languages() -> None:
    matrix, given = normal(), properties()
    overall = rank_correlations(matrix, given)
    within = rank_correlations_within(matrix, given)
    for m in range(len(TEST)):
        expected = spearmanr(matrix.values[m], given["length"]).statistic
        assert float(overall.sel(property="length")[m]) == pytest.approx(expected)
        rows = [n for n, language in enumerate(TRAIN) if language == "de"]
        expected = spearmanr(matrix.values[m, rows], given["norm"].values[rows]).statistic
        cell = within.sel(property="norm", train_language="de")[m]
        assert float(cell) == pytest.approx(expected)
    assert np.isnan(overall.sel(property="same")).all(), "no correlation with a constant"


def test_properties_are_those_of_the_result_and_those_given() -> None:
    loss = RNG(0).random((3, 8))
    influence = in_memory(
        scores(3, 2, 8), ["en", "de"] * 4, ["en", "ko"], method="tracin", train_loss=loss
    )
    found = train_properties(influence, {"a": range(8), "b": loss + 1})
    assert set(found.data_vars) == {"text_length", "loss", "a", "b"}
    np.testing.assert_allclose(found["loss"], (0.3 * loss[1] + 0.1 * loss[2]) / 0.4)
    np.testing.assert_allclose(found["b"], found["loss"] + 1)
    assert found["text_length"].values.tolist() == [
        len(text) for text in influence.dataset["train_text"].values
    ]
    with pytest.raises(
        InfluenceError, match=r'"a" has the shape \(7,\); expected \(8,\) or \(3, 8'
    ):
        train_properties(influence, {"a": range(7)})
    with pytest.raises(InfluenceError, match='"a" is not finite'):
        train_properties(influence, {"a": [np.nan] * 8})


def test_a_control_explains_what_it_causes_and_nothing_else() -> None:
    """German examples are longer and influence grows with length; French ones are better as such."""
    rng, n = RNG(7), 600
    train = ["en", "de", "fr"] * (n // 3)
    german, french = (
        np.array([name == tag for name in train], dtype=float) for tag in ("de", "fr")
    )
    length = 10 * rng.random(n) + 5 * german
    values = rng.normal(size=(40, n)) + 0.25 * length + 1.5 * french
    matrix = score_matrix(values, train, ["ko"] * 40)
    given = xr.Dataset({"length": ("train", length), "noise": ("train", rng.random(n))})
    found = remaining_lift({0: lifts_after_controls(matrix, given, 50)})
    plain = found.sel(control="none").isel(test_language=0)
    assert float(plain["low"].sel(train_language="de")) > 1, "German must look influential"
    remaining = found["remaining_percent"].isel(test_language=0)
    assert abs(float(remaining.sel(control="noise", train_language="de")) - 100) < 5
    after = found.isel(test_language=0).sel(control="length")
    assert float(after["mean"].sel(train_language="de")) < 0.5, "length had hidden its lack of lift"
    assert float(after["mean"].sel(train_language="fr")) > 1.5, "length does not explain French"
    change = found.isel(test_language=0).sel(control="length", train_language="de")
    assert float(change["change_high"]) < 0, "the control takes something off German"
    lifts = found["mean"].isel(test_language=0, drop=True).sel(train_language="de")
    difference = float(lifts.sel(control="length") - lifts.sel(control="none"))
    assert float(change["change"]) == pytest.approx(difference)
    unchanged = found.isel(test_language=0).sel(control="none")
    assert (unchanged["change"] == 0).all()
    no_means = found.isel(test_language=0).sel(control="language means")["mean"]
    assert float(no_means.sel(train_language="fr")) < float(plain["mean"].sel(train_language="fr"))


def test_nothing_remains_of_an_effect_that_there_is_none_of() -> None:
    found = remaining_lift({0: lifts_after_controls(normal(n_test=24), properties(), 10)})
    plain = found.sel(control="none", drop=True)
    inside = (plain["low"] <= 1) & (plain["high"] >= 1)
    assert inside.any(), "the case must not be trivial"
    unknown = found["remaining_percent"].isnull().all("control")
    assert (unknown == (inside | plain["low"].isnull())).all()
    kept = found["remaining_percent"].sel(control="none").values
    np.testing.assert_allclose(kept[~np.isnan(kept)], 100)


def test_where_a_control_changes_one_test_example_alone_no_limit_is_infinite() -> None:
    """Most resamples then have no spread, and set no limit: the lift has its own bounds, the change no interval."""
    lifts = lifts_after_controls(normal(n_test=24), properties(), 10)
    assert lifts.attrs["greatest_lift"] >= 4, "English is a quarter of the training set"
    changed = lifts.copy(data=np.ones(lifts.shape))
    changed.loc[{"control": "length", "test": changed["test"][0]}] = 0.5
    found = remaining_lift({0: changed.assign_attrs(lifts.attrs)}).sel(control="length")
    language = str(lifts["test_language"].values[0])
    assert (found["change"].sel(test_language=language) < 0).all()
    assert np.isfinite(found[["low", "high"]].to_array()).all()
    assert found[["change_low", "change_high"]].to_array().isnull().all()


@pytest.mark.filterwarnings("ignore:seeds .* disagree on the sign")
def test_seeds_in_which_a_control_acts_the_other_way_are_named() -> None:
    lifts = lifts_after_controls(normal(n_test=24), properties(), 10)
    runs = {}
    for seed, by_length in enumerate((0.5, 1.5)):
        changed = lifts.copy(data=np.ones(lifts.shape))
        changed.loc[{"control": "length"}] = by_length
        changed.loc[{"control": "norm"}] = 1.2
        runs[seed] = changed.assign_attrs(lifts.attrs)
    agree = remaining_lift(runs)["change_signs_agree"]
    assert not agree.sel(control="length").any(), "less in one run, more in the other"
    assert agree.sel(control=["none", "norm"]).all()
