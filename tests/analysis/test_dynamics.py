"""Measures by checkpoint, against each checkpoint alone and sums in plain Python."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sprachbund.analysis.dynamics import (
    alone,
    learning_curves,
    own_and_cross,
    own_language_share,
    own_share,
    running,
    share_by_checkpoint,
)
from sprachbund.analysis.measures import mass_share, mean_influence, top_shares
from sprachbund.analysis.sharing import example_share, language_share
from sprachbund.errors import InfluenceError
from synthetic_influence import arguments, in_memory, scores, write

Measure = Callable[[xr.DataArray], xr.DataArray]

TRAIN, TEST = ["de", "en", "en", "fr"] * 6, ["ko", "en", "de", "en"]
INFLUENCE = in_memory(scores(3, len(TEST), len(TRAIN)), TRAIN, TEST)


@pytest.mark.parametrize("sign", ["proponents", "opponents"])
def test_each_checkpoint_has_the_share_matrix_of_its_own_scores(sign: str) -> None:
    shares = share_by_checkpoint(INFLUENCE, 4, sign)  # type: ignore[arg-type]
    assert shares.dims == ("checkpoint", "test_language", "train_language")
    assert shares["epoch"].values.tolist() == [0, 1, 2]
    for step in (0, 10, 20):
        alone = language_share(INFLUENCE, 4, sign, step)  # type: ignore[arg-type]
        np.testing.assert_array_equal(shares.sel(checkpoint=step), alone)


def test_own_language_share_is_the_cell_where_both_languages_agree() -> None:
    own = own_language_share(INFLUENCE, 4)
    assert own.dims == ("checkpoint", "test_language")
    for step in (0, 10, 20):
        alone = language_share(INFLUENCE, 4, checkpoint=step)
        for language in ("en", "de"):
            found = float(own.sel(checkpoint=step, test_language=language))
            assert found == float(alone.sel(test_language=language, train_language=language))


def test_a_zero_shot_language_has_no_own_share_rather_than_none_of_it() -> None:
    own = own_language_share(INFLUENCE, 4)
    assert np.isnan(own.sel(test_language="ko")).all()
    assert not np.isnan(own.sel(test_language=["en", "de"])).any()


def test_chance_stands_beside_the_own_share() -> None:
    own = own_language_share(INFLUENCE, 4)
    assert float(own["expected_percent"].sel(test_language="en")) == pytest.approx(50)
    assert float(own["expected_percent"].sel(test_language="de")) == pytest.approx(25)


def test_own_share_works_on_a_single_matrix() -> None:
    matrix = language_share(INFLUENCE, 4)
    own = own_share(matrix)
    assert own.dims == ("test_language",)
    assert float(own.sel(test_language="de")) == float(
        matrix.sel(test_language="de", train_language="de")
    )


def test_a_language_that_only_the_late_model_relies_on_shows_late() -> None:
    values = np.zeros((3, 1, 8), dtype=np.float32)
    train = ["en", "de"] * 4
    values[0, 0] = [1 if language == "de" else -1 for language in train]
    values[1, 0] = values[0, 0]
    values[2, 0] = -values[0, 0]
    own = own_language_share(in_memory(values, train, ["en"]), 2)
    assert own.sel(test_language="en").values.tolist() == [0, 0, 100]


def test_a_k_larger_than_the_training_set_is_refused() -> None:
    with pytest.raises(InfluenceError, match="k is 100, but there are 24 training examples"):
        own_language_share(INFLUENCE)


def test_a_measure_of_each_checkpoint_alone_is_that_of_its_scores() -> None:
    found = alone(INFLUENCE, partial(top_shares, ks=(2, 4), sign="opponents"))
    assert found.dims == ("checkpoint", "k", "test", "train_language")
    assert found["checkpoint"].values.tolist() == [0, 10, 20]
    assert found["epoch"].values.tolist() == [0, 1, 2]
    for step in (0, 10, 20):
        single = example_share(INFLUENCE, 4, "opponents", step)
        np.testing.assert_array_equal(found.sel(checkpoint=step, k=4), single)
    np.testing.assert_allclose(found["expected_percent"], [25, 50, 25])


@pytest.mark.parametrize("method", ["tracin", "tracin-cosine"])
def test_the_running_measure_is_of_the_weighted_sum_so_far(method: str) -> None:
    values = scores(3, len(TEST), len(TRAIN), 1)
    influence = in_memory(values, TRAIN, TEST, method=method)
    weights = [0.0, 0.3, 0.1] if method == "tracin" else [0.0, 1.0, 1.0]
    found = running(influence, mass_share)
    assert found.dims == ("checkpoint", "test", "train_language")
    assert found["checkpoint"].values.tolist() == [10, 20], "the starting point has no sum"
    assert found["epoch"].values.tolist() == [1, 2]
    for last in (1, 2):
        for m in range(len(TEST)):
            total = [
                sum(weights[c] * float(values[c, m, n]) for c in range(last + 1))
                for n in range(len(TRAIN))
            ]
            positive = [max(score, 0.0) for score in total]
            english = [x for x, language in zip(positive, TRAIN, strict=True) if language == "en"]
            cell = found.sel(checkpoint=10 * last, train_language="en")[m]
            assert float(cell) == pytest.approx(100 * sum(english) / sum(positive))


@pytest.mark.parametrize(
    "measure",
    [
        partial(top_shares, ks=(1, 4)),
        mass_share,
        partial(mass_share, sign="opponents"),
        mean_influence,
    ],
)
def test_the_running_measure_ends_with_that_of_the_total(measure: Measure) -> None:
    influence = in_memory(scores(3, 4, 24), TRAIN, TEST, method="tracin")
    last = running(influence, measure).isel(checkpoint=-1, drop=True)
    np.testing.assert_allclose(last, measure(influence.total()))


def test_without_a_learning_rate_there_is_no_running_sum() -> None:
    influence = in_memory(
        scores(3, 4, 24), TRAIN, TEST, method="tracin", learning_rates=(0.0, 0.0, 0.0)
    )
    with pytest.raises(InfluenceError, match="no running sum"):
        running(influence, mass_share)
    late = in_memory(scores(3, 4, 24), TRAIN, TEST, method="tracin", learning_rates=(0.0, 0.0, 0.1))
    assert running(late, mass_share)["checkpoint"].values.tolist() == [20]


def test_own_share_of_single_test_examples_is_that_of_their_own_language() -> None:
    shares = example_share(INFLUENCE, 4)
    own = own_share(shares)
    assert own.dims == ("test",)
    for m, language in enumerate(TEST):
        if language == "ko":
            assert np.isnan(own[m])
        else:
            assert float(own[m]) == float(shares.sel(train_language=language)[m])


def test_own_and_cross_language_share_stand_side_by_side_with_intervals_and_chance() -> None:
    train, test = ["de", "en", "en", "fr"] * 10, ["ko", "en", "de", "en"] * 10
    influence = in_memory(scores(3, 40, 40), train, test)
    shares = alone(influence, partial(top_shares, ks=(8,))).isel(k=0)
    found = own_and_cross(shares)
    assert found["mean"].dims == ("relation", "checkpoint", "test_language")
    assert found["epoch"].values.tolist() == [0, 1, 2]
    own, cross = (found.sel(relation=relation) for relation in ("own", "cross"))
    np.testing.assert_allclose(own["mean"], own_language_share(influence, 8))
    known = {"test_language": ["en", "de"]}
    np.testing.assert_allclose(own["mean"].sel(known) + cross["mean"].sel(known), 100)
    np.testing.assert_allclose(own["low"].sel(known) + cross["high"].sel(known), 100)
    assert (own["low"] < own["mean"]).sel(known).all()
    assert (own["mean"] < own["high"]).sel(known).all()
    chance = found["expected_percent"].sel(known)
    np.testing.assert_allclose(chance, [[50, 25], [50, 75]])


def test_a_zero_shot_language_has_neither_own_nor_cross_share() -> None:
    found = own_and_cross(running(INFLUENCE, mass_share)).sel(test_language="ko")
    for name in ("mean", "low", "high", "expected_percent"):
        assert np.isnan(found[name]).all(), name


def test_learning_curves_are_those_of_counting_by_hand() -> None:
    rng = np.random.default_rng(0)
    test = ["en", "de", "en"] * 10  # the labels alternate no, yes, no, ...
    prediction = np.array(["no", "yes"], dtype=object)[rng.integers(0, 2, size=(3, 30))]
    loss = rng.exponential(size=(3, 30))
    influence = in_memory(
        scores(3, 30, 24), TRAIN, test, test_prediction=prediction, test_loss=loss
    )
    curves = learning_curves(influence)
    assert curves["epoch"].values.tolist() == [0, 1, 2]
    for c in range(3):
        for language in ("en", "de"):
            rows = [m for m in range(30) if test[m] == language]
            right = sum(prediction[c, m] == ("no", "yes")[m % 2] for m in rows)
            point = curves.isel(checkpoint=c).sel(test_language=language)
            assert float(point["accuracy_percent"]) == pytest.approx(100 * right / len(rows))
            assert float(point["loss"]) == pytest.approx(sum(loss[c, m] for m in rows) / len(rows))
    for name in ("accuracy_percent", "loss"):
        assert (curves[f"{name}_low"] < curves[name]).all()
        assert (curves[name] < curves[f"{name}_high"]).all()


def test_learning_curves_show_what_the_result_holds() -> None:
    loss_only = in_memory(scores(3, 4, 24), TRAIN, TEST, test_loss=np.ones((3, 4)))
    assert set(learning_curves(loss_only).data_vars) == {"loss", "loss_low", "loss_high"}
    with pytest.raises(InfluenceError, match="neither test_prediction nor test_loss"):
        learning_curves(INFLUENCE)


def test_a_stored_result_has_dynamics_and_curves_too(tmp_path: Path) -> None:
    influence = write(tmp_path / "i", scores(3, 4, 24), arguments(TRAIN, TEST))
    curves = learning_curves(influence)
    # `write_pending` predicts no, yes, no, yes, which are the labels.
    assert (curves["accuracy_percent"] == 100).all()
    several = curves["n_clusters"] > 1 if "n_clusters" in curves else curves["n_test"] > 1
    low = curves["accuracy_percent_low"]
    assert np.isnan(low.where(~several)).all(), "one example does not tell how far off it is"
    assert (low.where(several, 0.0) < 100).all(), "a perfect score of a few is no certainty"
    found = own_and_cross(running(influence, mass_share))
    expected = own_and_cross(
        running(in_memory(scores(3, 4, 24), TRAIN, TEST, method="tracin"), mass_share)
    )
    np.testing.assert_allclose(found["mean"], expected["mean"])
