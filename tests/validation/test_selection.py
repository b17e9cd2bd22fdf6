"""Who is removed: means over a language, ties, and what the random controls are made of."""

from collections import Counter

import numpy as np
import pytest

from sprachbund.validation.config import RemovalConfig
from sprachbund.validation.selection import removals, targets
from tiny_models import tiny_corpus

CORPUS = tiny_corpus(items=24)
TRAIN = CORPUS.take([*range(18), *range(24, 42)])
TEST = CORPUS.take([*range(18, 24), *range(42, 48)])
SCORES = np.random.default_rng(0).normal(size=(len(TEST), len(TRAIN)))
CONFIG = RemovalConfig(k=(4, 9), random_draws=3)


def chosen(config=CONFIG, scores=None, seed=0):
    given = {"influence": SCORES, "bm25": -SCORES} if scores is None else scores
    found = removals(seed, given, TRAIN, TEST, config)
    return {(r.criterion, r.k, r.draw, r.target.name): r for r in found}


def cells(positions) -> Counter:
    frame = TRAIN.frame.iloc[list(positions)]
    return Counter(zip(frame["language"], frame["label"], strict=True))


def test_a_language_is_judged_by_all_its_test_examples_and_loses_its_mean_top():
    removal = chosen()["influence", 9, 0, "de"]
    assert removal.target.rows == tuple(range(6, 12))
    expected = np.argsort(-SCORES[6:].mean(axis=0))[:9]
    assert removal.removed == tuple(sorted(expected))
    assert chosen()["bm25", 9, 0, "de"].removed == tuple(
        sorted(np.argsort(SCORES[6:].mean(axis=0))[:9])
    )


def test_single_examples_are_the_first_of_each_language():
    config = CONFIG.model_copy(update={"of": "example", "examples_per_language": 2})
    found = targets(TEST, config)
    assert [target.rows for target in found] == [(0,), (1,), (6,), (7,)]
    assert [target.name for target in found] == TEST.frame["id"].iloc[[0, 1, 6, 7]].tolist()
    removal = chosen(config)["influence", 4, 0, found[2].name]
    assert removal.removed == tuple(sorted(np.argsort(-SCORES[6])[:4]))


def test_random_same_has_as_many_of_each_language_and_label_as_the_top_by_influence():
    found = chosen()
    for k in CONFIG.k:
        for language in ("en", "de"):
            top = found["influence", k, 0, language].removed
            drawn = found["random-same", k, 0, language].removed
            assert cells(drawn) == cells(top)
            assert len(set(drawn)) == k
    assert any(
        found["random-same", 9, 0, name].removed != found["influence", 9, 0, name].removed
        for name in ("en", "de")
    )


def test_random_same_draws_all_of_a_cell_alike():
    counts = np.zeros(len(TRAIN))
    for seed in range(300):
        removal = chosen(CONFIG.model_copy(update={"seed": seed}))["random-same", 4, 0, "en"]
        counts[list(removal.removed)] += 1
    language = TRAIN.frame["language"] + TRAIN.frame["label"]
    for cell in language.unique():
        of_cell = counts[(language == cell).to_numpy()]
        share = of_cell / of_cell.mean() if of_cell.sum() else np.ones(9)
        assert share == pytest.approx(1.0, abs=0.6), "each of nine is drawn about as often"


def test_random_draws_are_shared_by_all_targets_differ_and_are_nested_in_k():
    found = chosen()
    draws = [found["random", 9, draw, ""] for draw in range(3)]
    assert len({draw.removed for draw in draws}) == 3
    assert all(draw.target.rows == tuple(range(12)) for draw in draws)
    for draw in range(3):
        assert set(found["random", 4, draw, ""].removed) < set(draws[draw].removed)
    assert chosen(seed=1)["random", 9, 0, ""].removed != draws[0].removed


@pytest.mark.parametrize("criterion", ["influence", "random", "random-same"])
def test_the_same_seed_draws_the_same_whatever_else_is_asked(criterion):
    alone = chosen(CONFIG.model_copy(update={"k": (9,), "controls": ("random", "random-same")}))
    for key, removal in alone.items():
        if removal.criterion == criterion:
            assert removal == chosen()[key]


def test_equal_scores_are_ordered_at_random_and_not_by_place():
    nothing = {"influence": SCORES, "bm25": np.zeros_like(SCORES)}
    first = chosen(scores=nothing)["bm25", 9, 0, "en"].removed
    assert first != tuple(range(9)), (
        "BM25 of another script is 0 for all: the first are not to lose"
    )
    other = CONFIG.model_copy(update={"seed": 1})
    assert chosen(other, nothing)["bm25", 9, 0, "en"].removed != first
    assert chosen(scores=nothing)["bm25", 9, 0, "en"].removed == first
