"""The questions over several runs: their permutation tests, and runs that do not belong together."""

import itertools

import numpy as np
import pytest

from sprachbund.analysis import answers
from sprachbund.errors import InfluenceError
from sprachbund.influence import Influence
from synthetic_influence import in_memory

# Three items, each in two languages: eight labellings in all.
TRAIN, ITEMS = ["en", "de"] * 3, ["a", "a", "b", "b", "c", "c"]
CELL = {"test_language": "en", "train_language": "de"}
ONE_CHECKPOINT = {"method": "tracin", "learning_rates": (0.0, 1.0)}


def runs(n: int = 2) -> dict[int, Influence]:
    values = np.random.default_rng(5).normal(size=(n, 2, 4, 6))
    return {
        seed: in_memory(values[seed], TRAIN, ["en"] * 4, train_item=ITEMS, **ONE_CHECKPOINT)
        for seed in range(n)
    }


def p_of_all_labellings(added: np.ndarray) -> float:
    """Two-sided, by every exchange of labels within items; `added` [test, train] is what each example adds."""
    mean = added.mean(axis=0)
    sums = [
        sum(mean[2 * item + (1 if kept else 0)] for item, kept in enumerate(choice))
        for choice in itertools.product((True, False), repeat=3)
    ]
    centre = sum(sums) / len(sums)
    return float(np.mean([abs(x - centre) >= abs(sums[0] - centre) - 1e-12 for x in sums]))


def totals(given: dict[int, Influence]) -> list[np.ndarray]:
    return [run.dataset["influence"].values[1] for run in given.values()]


def test_mean_influence_is_tested_by_all_labellings() -> None:
    found = answers.mean_score_test(runs()).sel(CELL)
    expected = np.mean(totals(runs()), axis=0)
    assert float(found["observed"]) == pytest.approx(expected.mean(axis=0)[1::2].sum(), rel=1e-5)
    assert float(found["p_value"]) == pytest.approx(p_of_all_labellings(expected), abs=0.04)


@pytest.mark.parametrize(("sign", "direction"), [("proponents", 1), ("opponents", -1)])
def test_the_mass_share_is_tested_by_all_labellings(sign: answers.Sign, direction: int) -> None:
    found = answers.mass_test(runs(), sign).sel(CELL)
    masses = [np.clip(direction * scores, 0, None) for scores in totals(runs())]
    shares = [100 * mass / mass.sum(axis=1, keepdims=True) for mass in masses]
    expected = np.mean(shares, axis=0)
    assert float(found["observed"]) == pytest.approx(expected.mean(axis=0)[1::2].sum(), rel=1e-5)
    assert float(found["p_value"]) == pytest.approx(p_of_all_labellings(expected), abs=0.04)


def test_a_language_that_is_stronger_in_every_run_is_found() -> None:
    train, items = ["en", "de"] * 30, [str(n // 2) for n in range(60)]
    rng = np.random.default_rng(0)
    lifted = {
        seed: in_memory(
            rng.normal(size=(2, 8, 60)) + np.array([0.0, 0.8] * 30),
            train,
            ["en", "ko"] * 4,
            train_item=items,
            **ONE_CHECKPOINT,
        )
        for seed in range(3)
    }
    assert (answers.mean_score_test(lifted)["q_value"] < 0.01).all()
    assert (answers.mass_test(lifted)["q_value"] < 0.01).all()


@pytest.mark.parametrize(
    "test",
    [answers.share_test, answers.mass_test, answers.mean_score_test],
    ids=lambda f: f.__name__,
)
def test_runs_of_training_examples_in_another_order_are_refused(test) -> None:
    """Scores are averaged by position: in another order each language would get another's."""
    given = runs()
    turned = given[1].dataset.isel(train=[1, 0, 2, 3, 4, 5])
    with pytest.raises(InfluenceError, match="seeds 0 and 1 cannot be averaged: train is"):
        test(
            {0: given[0], 1: Influence(turned)}, **({"k": 2} if test is answers.share_test else {})
        )


def test_reinforcement_says_how_many_clusters_count_and_where_seeds_disagree() -> None:
    """In run 0 each English example rests on a translation pair, in run 1 on both of two different items."""
    paired, apart = [3.0, 3.0, 0, 0, 0, 0], [3.0, 0, 0, 3.0, 0, 0]
    given = {
        seed: in_memory(
            np.array([[first] * 4] * 2),
            TRAIN,
            ["en"] * 4,
            train_item=ITEMS,
            test_item=["p", "q", "q", "r"],
            **ONE_CHECKPOINT,
        )
        for seed, first in enumerate((paired, apart))
    }
    found = answers.reinforcement(given, (2,)).sel(k=2, test_language="en", train_language="de")
    assert float(found["reinforcing_percent"]) == 50
    assert int(found["n_clusters"]) == 3
    assert not bool(found["signs_agree"])
    ranks = answers.retrieval(given, 2).sel(test_language="en", train_language="de")
    assert int(ranks["n_clusters"]) == 3
    alone = answers.reinforcement({0: given[0]}, (2,))
    assert alone["signs_agree"].all(), "one run agrees with itself"
