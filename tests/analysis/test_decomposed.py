"""Scores taken apart: planted explanations in one group of parameters, and decompositions that do not fit."""

import numpy as np
import pytest
import xarray as xr

from sprachbund.analysis import answers
from sprachbund.analysis.confounds import lifts_after_controls, remaining_lift
from sprachbund.analysis.decomposed import (
    decomposed_scores,
    mean_contributions,
    share_by_parameter_group,
    shares_by_group,
)
from sprachbund.analysis.measures import by_test_language, mean_influence, top_shares
from sprachbund.decomposition.result import Decomposition
from sprachbund.errors import InfluenceError
from sprachbund.influence import Influence
from synthetic_influence import in_memory

GROUPS = ["embeddings: shared sub-words", "layer 0", "head"]
TRAIN, TEST = ["en", "de", "fr"] * 40, ["ko", "en"] * 12
WEIGHTS = (0.0, 0.3, 0.1)
STEPS = [0, 10, 20]


def made_up(
    *, seed: int = 0, steps: tuple[int, ...] = (10, 20), method: str = "tracin"
) -> tuple[Influence, Decomposition]:
    """Noise in every group; German is favoured by the shared sub-words, French by layer 0."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(3, len(GROUPS), len(TEST), len(TRAIN)))
    german, french = (np.array([name == tag for name in TRAIN], float) for tag in ("de", "fr"))
    values[:, 0] += 3.0 * german
    values[:, 1] += 3.0 * french
    influence = in_memory(values.sum(1), TRAIN, TEST, method=method, learning_rates=WEIGHTS)
    chosen = [STEPS.index(step) for step in steps]
    parts = xr.Dataset(
        {
            "contribution": (("checkpoint", "group", "test", "train"), values[chosen]),
            "means_removed": (("checkpoint", "test", "train"), values[chosen, 2]),
        },
        coords={**influence.dataset.isel(checkpoint=chosen).coords, "group": GROUPS},
        attrs={"method": method},
    )
    return influence, Decomposition(parts)


@pytest.mark.parametrize("method", ["tracin", "tracin-cosine"])
def test_the_checkpoints_of_a_decomposition_are_weighted_as_the_total_is(method: str) -> None:
    influence, decomposition = made_up(method=method)
    found = decomposed_scores(influence, decomposition)
    assert found.covers_total
    xr.testing.assert_allclose(found.by_group.sum("group"), influence.total().rename(None))
    weights = (0.3, 0.1) if method == "tracin" else (1.0, 1.0)
    removed = decomposition.dataset["means_removed"].values
    expected = weights[0] * removed[0] + weights[1] * removed[1]
    np.testing.assert_allclose(found.means_removed, expected)


def test_scores_without_a_group_are_those_of_the_others() -> None:
    scores = decomposed_scores(*made_up())
    changed = dict(scores.controlled())
    assert list(changed) == [*(f"without {group}" for group in GROUPS), "mean gradients removed"]
    others = scores.by_group.sel(group=["layer 0", "head"]).sum("group")
    np.testing.assert_allclose(changed["without embeddings: shared sub-words"], others)


def test_leaving_a_group_out_explains_what_it_causes_and_nothing_else() -> None:
    runs = {seed: made_up(seed=seed) for seed in (0, 1)}
    influences = {seed: influence for seed, (influence, _) in runs.items()}
    parts = {seed: decomposition for seed, (_, decomposition) in runs.items()}
    found = answers.confounds(influences, 20, decompositions=parts)
    remains = found["remaining_percent"].mean("test_language")

    def of(control: str, language: str) -> float:
        return float(remains.sel(control=control, train_language=language))

    assert of("none", "de") == pytest.approx(100)
    assert of("without embeddings: shared sub-words", "de") < 0, "German has no other cause"
    assert of("without embeddings: shared sub-words", "fr") > 100
    assert of("without layer 0", "fr") < 0
    assert of("without head", "de") > 90
    assert abs(of("mean gradients removed", "de")) < 40, "all that is left is noise"
    shares = share_by_parameter_group(influences, parts, 20)
    alone = shares["mean"].mean("test_language")
    assert float(alone.sel(group=GROUPS[0], train_language="de")) > 90
    assert float(alone.sel(group="head", train_language="de")) < 45
    np.testing.assert_allclose(shares["mean"].sum("train_language"), 100)
    np.testing.assert_allclose(shares["lift"], shares["mean"] / (100 / 3))


def test_shares_of_a_group_are_those_of_its_contributions_alone() -> None:
    scores = decomposed_scores(*made_up())
    found = shares_by_group(scores, 7, "opponents")
    for group in GROUPS:
        matrix = scores.by_group.sel(group=group, drop=True)
        expected = top_shares(matrix, (7,), "opponents").isel(k=0)
        np.testing.assert_array_equal(found.sel(group=group), expected)


def test_mean_contributions_add_up_to_the_mean_influence() -> None:
    influence, decomposition = made_up()
    found = mean_contributions(decomposed_scores(influence, decomposition))
    expected = by_test_language(mean_influence(influence.total()))
    np.testing.assert_allclose(by_test_language(found).sum("group"), expected)
    table = share_by_parameter_group({0: influence}, {0: decomposition}, 7)
    np.testing.assert_allclose(table["contribution"].sum("group"), expected)


def test_a_planted_contribution_is_in_its_interval_and_noise_is_not_told_from_0() -> None:
    """The shared sub-words add 3 to a German example's score at both checkpoints; the head adds noise."""
    influence, decomposition = made_up(method="tracin-cosine")
    table = share_by_parameter_group({0: influence}, {0: decomposition}, 7)
    for group, planted in ((GROUPS[0], 3.0 + 3.0), ("head", 0.0)):
        german = table.sel(group=group, train_language="de")
        assert (german["contribution_low"] < planted).all(), group
        assert (german["contribution_high"] > planted).all(), group
        assert (german["contribution_high"] - german["contribution_low"] < 1.0).all(), group


def test_a_decomposition_of_one_checkpoint_is_compared_with_that_checkpoint() -> None:
    influence, decomposition = made_up(steps=(20,))
    scores = decomposed_scores(influence, decomposition)
    assert not scores.covers_total
    lifts = lifts_after_controls(influence.total(), xr.Dataset(), 20, decomposed=scores)
    plain = "none, checkpoint 20"
    own = top_shares(influence.at(20), (20,)).isel(k=0)
    np.testing.assert_allclose(lifts.sel(control=plain), own / (100 / 3))
    compared = dict(zip(lifts["control"].values, lifts["compared_with"].values, strict=True))
    assert compared["language means"] == "none"
    assert compared["same label"] == "none, as deep as same label"
    assert (
        compared["without head"] == compared["mean gradients removed"] == compared[plain] == plain
    )
    found = remaining_lift({0: lifts})
    excess = found["mean"].sel(control=plain) - 1
    expected = 100 * (found["mean"].sel(control="without head") - 1) / excess
    known = found["remaining_percent"].sel(control="without head")
    assert known.notnull().any()
    np.testing.assert_allclose(known.where(known.notnull()), expected.where(known.notnull()))
    for control in ("none", plain):
        kept = found["remaining_percent"].sel(control=control).values
        np.testing.assert_allclose(kept[~np.isnan(kept)], 100)


def test_an_influence_can_be_asked_with_its_decomposition() -> None:
    influence, decomposition = made_up()
    plain, more = influence.confounds(20), influence.confounds(20, decomposition=decomposition)
    assert set(more["control"].values) - set(plain["control"].values) == {
        *(f"without {group}" for group in GROUPS),
        "mean gradients removed",
    }
    xr.testing.assert_equal(
        more["mean"].sel(control=plain["control"]).reset_coords(drop=True),
        plain["mean"].reset_coords(drop=True),
    )


def test_a_decomposition_that_does_not_fit_is_refused() -> None:
    influence, decomposition = made_up()
    dataset = decomposition.dataset
    for other, message in (
        (dataset.isel(train=slice(5)), "of 5 train examples which are not the 120"),
        (dataset.isel(test=slice(None, None, -1)), "test examples which are not the 24"),
        (dataset.assign_attrs(method="tracin-cosine"), "of tracin-cosine, the influence result of"),
        (dataset.assign_coords(checkpoint=[10, 15]), "of checkpoint 15, which"),
    ):
        with pytest.raises(InfluenceError, match=message):
            decomposed_scores(influence, Decomposition(other))
    with pytest.raises(InfluenceError, match="checkpoint 0, which has no weight"):
        decomposed_scores(influence, made_up(steps=(0,))[1])
    with pytest.raises(InfluenceError, match="seed 1 is not decomposed"):
        share_by_parameter_group({0: influence, 1: influence}, {0: decomposition}, 7)
