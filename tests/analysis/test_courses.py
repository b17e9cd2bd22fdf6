"""How measures change over the checkpoints of a run, against counting in plain Python."""

import numpy as np
import pytest

from sprachbund.analysis import courses
from sprachbund.errors import InfluenceError
from synthetic_influence import in_memory


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
    train = ["en", "de"] * 3
    one = in_memory(np.ones((1, 2, 6)), train, ["en"] * 2, learning_rates=(0.1,))
    korean = in_memory(np.ones((3, 2, 6)), train, ["ko"] * 2)
    for run in (one, korean):
        with pytest.raises(InfluenceError, match="needs two checkpoints and a test language"):
            courses.own_share_change({0: run}, (2,))


def test_where_no_share_can_change_there_is_no_interval() -> None:
    """With one training language all proponents are in it, whatever the scores."""
    values = np.random.default_rng(3).normal(size=(3, 4, 8))
    found = courses.own_share_change({0: in_memory(values, ["en"] * 8, ["en"] * 4)}, (2,))
    assert (found["mean"] == 0).all()
    for name in ("low", "high", "p_value", "q_value"):
        assert found[name].isnull().all(), name
