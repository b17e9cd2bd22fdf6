"""One call each: what an Influence answers is what the analysis computes, over one run or several."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from sprachbund.analysis import answers
from sprachbund.analysis.dynamics import alone, own_and_cross
from sprachbund.analysis.measures import top_shares
from sprachbund.analysis.sharing import language_share
from sprachbund.errors import InfluenceError
from synthetic_influence import in_memory, scores

TRAIN, TEST = ["en", "de", "fr"] * 20, ["en", "ko", "de", "en"] * 3
ITEMS = [str(n // 3) for n in range(60)]
RUNS = {
    seed: in_memory(
        scores(3, 12, 60, seed),
        TRAIN,
        TEST,
        train_item=ITEMS,
        test_loss=np.random.default_rng(seed).random((3, 12)),
    )
    for seed in (0, 1)
}
ONE = RUNS[0]


@pytest.mark.filterwarnings("ignore::sprachbund.errors.SprachbundWarning")
def test_shares_and_lifts_are_those_of_the_sharing_matrix() -> None:
    found, expected = ONE.share(10), language_share(ONE, 10)
    np.testing.assert_allclose(found["mean"], expected)
    assert ((found["low"] <= found["mean"]) & (found["mean"] <= found["high"])).all()
    np.testing.assert_allclose(ONE.lift(10)["mean"], expected / expected["expected_percent"])
    both = answers.share(RUNS, (10,)).sel(k=10)
    mean = sum(language_share(run, 10) for run in RUNS.values()) / 2
    np.testing.assert_allclose(both["mean"], mean)
    assert (both["seed_standard_deviation"] >= 0).all()


def test_several_k_are_asked_at_once() -> None:
    for several in ((5, 20), [5, 20], np.array([5, 20])):
        for name in ("share", "lift", "reinforcement", "own_share_change"):
            question = getattr(ONE, name)
            found = question(several)
            assert found["k"].values.tolist() == [5, 20]
            for k in several:
                expected = question(int(k)).drop_vars("q_value", errors="ignore")
                assert expected.attrs["k"] == k
                xr.testing.assert_allclose(found.sel(k=k, drop=True)[list(expected)], expected)


def test_dynamics_are_those_of_each_checkpoint() -> None:
    found = ONE.dynamics(10)
    expected = own_and_cross(alone(ONE, lambda s: top_shares(s, (10,)).isel(k=0, drop=True)))
    one = found.sel(scores="alone").transpose("relation", "checkpoint", "test_language")
    np.testing.assert_allclose(one["mean"], expected["mean"])
    np.testing.assert_allclose(one["expected_percent"], expected["expected_percent"])
    last = found["mean"].sel(scores="running", relation="own").isel(checkpoint=-1)
    shares = ONE.share(10)["mean"]
    assert float(last.sel(test_language="en")) == pytest.approx(
        float(shares.sel(test_language="en", train_language="en"))
    )
    assert found["epoch"].values.tolist() == [0, 1, 2]


def test_every_question_has_an_answer_with_the_dims_it_promises() -> None:
    pair = ("test_language", "train_language")
    coords = {"language": ["en", "de", "fr"], "other_language": ["en", "de", "fr"]}
    distance = xr.DataArray(
        np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0.0]]), dims=tuple(coords), coords=coords
    )
    for found, name, dims in (
        (ONE.share_test(10), "q_value", pair),
        (ONE.mass("opponents"), "low", pair),
        (ONE.mass_test("opponents"), "q_value", pair),
        (ONE.mean_influence_test(), "q_value", pair),
        (ONE.mean_influence(), "high", pair),
        (ONE.own_share_change(10), "low", ("since", "test_language")),
        (ONE.learning(), "mean", ("measure", "checkpoint", "test_language")),
        (ONE.reinforcement(10), "excess_percent_low", ("test_language", "train_language")),
        (ONE.retrieval(10), "rank_percent", pair),
        (ONE.label_agreement(10), "expected_percent", ("test_language",)),
        (ONE.confounds(10), "remaining_percent", ("control", *pair)),
        (ONE.property_correlations(), "mean", ("property", "train_language", "test_language")),
        (ONE.relations(xr.Dataset({"d": distance}), 10), "p_value", ("measure", "distance")),
        (ONE.overlap(RUNS[1], 10), "jaccard_low", ("test_language",)),
    ):
        assert set(found[name].dims) == set(dims), name


def test_properties_that_are_given_are_controlled_for() -> None:
    found = ONE.confounds(10, properties={"fertility": np.random.default_rng(0).random(60)})
    assert "fertility" in found["control"].values


def test_influence_does_not_import_the_analysis() -> None:
    code = "import sys, sprachbund.influence as i; sys.exit('sprachbund.analysis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_distances_that_are_no_dataset_are_refused():
    with pytest.raises(InfluenceError, match="distances are dict; expected a Dataset"):
        ONE.relations({})
