"""Who is in the top k, against every order of equal scores and a plain sort."""

import numpy as np
import pytest
from equal_scores import mean_count, possible_tops
from made_up_values import score_matrix

from sprachbund.analysis.measures import top_shares
from sprachbund.analysis.tops import part_in_top, ranking
from sprachbund.errors import InfluenceError
from sprachbund.influence import Sign

RNG = np.random.default_rng
SIGNS = ("proponents", "opponents")
TRAIN = ["en"] * 6 + ["de"] * 6
TEST = ["en", "de", "ko", "en"]


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("k", [1, 4, 12])
def test_equal_scores_are_in_the_top_as_often_as_in_a_random_order(sign: Sign, k: int) -> None:
    values = RNG(0).integers(-1, 2, size=(4, 12)).astype(float)
    parts = part_in_top(score_matrix(values, TRAIN, TEST), k, sign)
    for m in range(4):
        tops = possible_tops(values[m], k, sign)
        for n in range(12):
            expected = mean_count(tops, [other == n for other in range(12)])
            assert parts[m, n] == pytest.approx(expected), (m, n)


def test_every_test_example_may_have_a_k_of_its_own() -> None:
    values = RNG(1).normal(size=(4, 12))
    parts = part_in_top(score_matrix(values, TRAIN, TEST), np.array([1, 3, 12, 5]), "proponents")
    for m, k in enumerate((1, 3, 12, 5)):
        assert set(np.flatnonzero(parts[m])) == set(np.argsort(-values[m])[:k])
        assert parts[m].sum() == k


@pytest.mark.parametrize("sign", SIGNS)
def test_a_language_gains_nothing_by_standing_first_in_the_data(sign: Sign) -> None:
    values = np.zeros((4, 12))
    values[:, [2, 8]] = 1.0 if sign == "proponents" else -1.0
    shares = top_shares(score_matrix(values, TRAIN, TEST), (2, 5), sign)
    assert np.allclose(shares, 50.0)


@pytest.mark.parametrize("sign", SIGNS)
def test_a_ranking_sorts_and_draws_the_order_of_equal_scores(sign: Sign) -> None:
    values = RNG(2).normal(size=(4, 12))
    direction = -1 if sign == "proponents" else 1
    found = ranking(score_matrix(values, TRAIN, TEST), 5, sign)
    assert (found.values == np.argsort(direction * values, axis=1)[:, :5]).all()
    many = score_matrix(np.zeros((2000, 12)), TRAIN, ["en"] * 2000)
    first = ranking(many, 3, sign).values
    assert (first == ranking(many, 3, sign).values).all()
    another = ranking(many, 3, sign, ties=1).values
    assert (first == another).all(axis=1).sum() < 10, "one in 12 * 11 * 10 by chance"
    assert all(len(set(row)) == 3 for row in first.tolist())
    # 6,000 places over 12 positions: 500 each, with a standard deviation of 19.
    assert np.abs(np.bincount(first.ravel(), minlength=12) - 500).max() < 100


def test_a_test_example_without_k_numbers_has_no_top() -> None:
    values = RNG(3).normal(size=(4, 12))
    values[1] = np.nan
    parts = part_in_top(score_matrix(values, TRAIN, TEST), 5, "proponents")
    assert np.isnan(parts[1]).all()
    assert (parts[[0, 2, 3]].sum(axis=1) == 5).all()


def test_what_cannot_be_a_top_is_refused() -> None:
    matrix = score_matrix(np.zeros((4, 12)), TRAIN, TEST)
    with pytest.raises(InfluenceError, match=r"k is 13, but there are 12 training examples"):
        part_in_top(matrix, 13, "proponents")
    with pytest.raises(InfluenceError, match=r"k is 0"):
        ranking(matrix, 0)
    with pytest.raises(InfluenceError, match='sign is "best"'):
        ranking(matrix, 3, "best")  # type: ignore[arg-type]
