"""The questions over several runs: their permutation tests, and runs that do not belong together."""

import itertools

import numpy as np
import pytest

from sprachbund.analysis import answers, courses
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


def own_share(scores: np.ndarray, train: list[str], language: str, k: int) -> float:
    first = sorted(range(len(train)), key=lambda n: -scores[n])[:k]
    return 100 * sum(train[n] == language for n in first) / k


def test_the_change_of_the_own_share_is_that_of_single_test_examples() -> None:
    train, test = ["en", "de"] * 10, ["en", "ko", "de", "de", "en", "de"]
    values = np.random.default_rng(2).normal(size=(3, 3, 6, 20))  # seed, checkpoint, test, train
    given = {seed: in_memory(values[seed], train, test) for seed in range(3)}
    found = courses.own_share_change(given, (3, 7))
    assert found["test_language"].values.tolist() == ["en", "de", "all"], "Korean has no own share"
    assert found["since"].values.tolist() == [0, 10]
    assert found["epoch"].values.tolist() == [0, 1]
    for k in (3, 7):
        for position, since in enumerate((0, 10)):
            for language, among in (("en", ["en"]), ("de", ["de"]), ("all", ["en", "de"])):
                changes = [
                    own_share(run[2][n], train, own, k) - own_share(run[position][n], train, own, k)
                    for run in values
                    for n, own in enumerate(test)
                    if own in among
                ]
                cell = found.sel(k=k, since=since, test_language=language)
                assert float(cell["mean"]) == pytest.approx(np.mean(changes))
                assert float(cell["low"]) <= np.mean(changes) <= float(cell["high"])


def test_a_change_needs_two_checkpoints_and_an_own_language() -> None:
    one = in_memory(np.ones((1, 2, 6)), TRAIN, ["en"] * 2, learning_rates=(0.1,))
    korean = in_memory(np.ones((3, 2, 6)), TRAIN, ["ko"] * 2)
    for run in (one, korean):
        with pytest.raises(InfluenceError, match="needs two checkpoints and a test language"):
            courses.own_share_change({0: run}, (2,))


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
