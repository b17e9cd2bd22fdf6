"""Overlap of two runs, against sets in plain Python, closed forms and simulation."""

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprachbund.analysis.overlap import (
    expected_jaccard,
    expected_jaccard_given,
    expected_rank_biased_overlap,
    jaccard,
    overlap,
    overlap_by_language,
    overlap_over_seeds,
    rank_biased_overlap,
)
from sprachbund.analysis.seeds import combine_seeds
from sprachbund.analysis.statistics import mean_intervals
from sprachbund.errors import InfluenceError
from sprachbund.influence import Influence
from synthetic_influence import in_memory, scores

TRAIN, TEST = ["en", "de", "fr", "de"] * 8, ["ko", "en", "de", "en"]


def without(influence: Influence, language: str) -> Influence:
    kept = influence.dataset["train_language"].values != language
    return Influence(influence.dataset.isel(train=np.flatnonzero(kept)))


def by_definition(first: list[int], second: list[int], p: float) -> float:
    """Equation 30 of Webber et al. (2010), from sets."""
    k = len(first)
    agreement = [len(set(first[:d]) & set(second[:d])) / d for d in range(1, k + 1)]
    return agreement[-1] * p**k + (1 - p) / p * sum(
        a * p**d for d, a in enumerate(agreement, start=1)
    )


rankings = st.integers(1, 12).flatmap(
    lambda k: st.tuples(
        st.permutations(range(20)).map(lambda r: r[:k]),
        st.permutations(range(20)).map(lambda r: r[:k]),
    )
)


@settings(deadline=None)
@given(pair=rankings, p=st.floats(0.05, 0.99))
def test_both_overlaps_are_those_of_their_definitions(pair: tuple, p: float) -> None:
    first, second = (list(ranking) for ranking in pair)
    arrays = np.array([first]), np.array([second])
    assert rank_biased_overlap(*arrays, p)[0] == pytest.approx(by_definition(first, second, p))
    union = set(first) | set(second)
    assert jaccard(*arrays)[0] == pytest.approx(len(set(first) & set(second)) / len(union))
    swapped = rank_biased_overlap(arrays[1], arrays[0], p)
    np.testing.assert_allclose(swapped, rank_biased_overlap(*arrays, p))


def test_a_published_example_and_the_two_ends() -> None:
    """0.828: RBO of (1 2 3 4 5) and (2 3 4 1 5), p = 0.9, of the rankmeasures library's README."""
    one, other = np.array([[1, 2, 3, 4, 5]]), np.array([[2, 3, 4, 1, 5]])
    assert rank_biased_overlap(one, other, 0.9)[0] == pytest.approx(0.828, abs=5e-4)
    assert rank_biased_overlap(one, one, 0.9)[0] == pytest.approx(1)
    assert rank_biased_overlap(one, one + 5, 0.9)[0] == 0
    # One example in common, at the last rank: its agreement 1/5 counts there and beyond.
    last = np.array([[6, 7, 8, 9, 5]])
    assert rank_biased_overlap(one, last, 0.9)[0] == pytest.approx(0.2 * 0.9**4)


def test_chance_levels_are_those_of_random_rankings() -> None:
    rng = np.random.default_rng(0)
    draws = rng.random((2, 20_000, 30)).argsort(axis=2)[:, :, :8]
    error = 4 / np.sqrt(20_000)
    found = jaccard(*draws)
    assert found.mean() == pytest.approx(expected_jaccard(30, 8), abs=error * found.std())
    found = rank_biased_overlap(*draws, 0.9)
    expected = expected_rank_biased_overlap(30, 8, 0.9)
    assert found.mean() == pytest.approx(expected, abs=error * found.std())
    assert expected_jaccard(8, 8) == pytest.approx(1)
    assert expected_rank_biased_overlap(8, 8, 0.9) < 1, "the order is random still"


def test_chance_given_labels_is_that_of_drawing_as_many_of_each_label() -> None:
    rng, labels, k = np.random.default_rng(1), np.array([0] * 10 + [1] * 15 + [2] * 5), 8
    tops = [np.array([[0, 1, 2, 3, 4, 10, 11, 25]]), np.array([[5, 6, 7, 10, 12, 13, 14, 15]])]
    drawn = []
    for top in tops:
        counts = np.bincount(labels[top[0]], minlength=3)
        parts = [
            rng.random((20_000, size)).argsort(axis=1)[:, :count] + first
            for size, first, count in zip((10, 15, 5), (0, 10, 25), counts, strict=True)
        ]
        drawn.append(np.concatenate(parts, axis=1))
    found = jaccard(*drawn)
    (expected,) = expected_jaccard_given(labels, *tops)
    assert found.mean() == pytest.approx(expected, abs=4 * found.std() / np.sqrt(20_000))
    (of_one_label,) = expected_jaccard_given(np.zeros(30, dtype=int), *tops)
    assert of_one_label == pytest.approx(expected_jaccard(30, k))


def test_examples_are_matched_by_id_and_the_own_language_is_left_out() -> None:
    one = in_memory(scores(3, 4, 32, 1), TRAIN, TEST)
    order = np.random.default_rng(5).permutation(32)
    full = in_memory(scores(3, 4, 32, 2), TRAIN, TEST)
    other = without(Influence(full.dataset.isel(train=order, test=[2, 0, 1])), "fr")
    found = overlap(one, other, 5, persistence=0.9)
    assert found["test"].values.tolist() == ["test-0", "test-1", "test-2"]
    common = set(other.dataset["train"].values.tolist())
    for test in ("test-0", "test-1", "test-2"):
        tops = []
        for run in (one, other):
            total = run.total().sel(test=test)
            names = [
                (-float(score), name)
                for score, name, language in zip(
                    total.values, total["train"].values, total["train_language"].values, strict=True
                )
                if name in common and language != str(total["test_language"].values)
            ]
            tops.append([name for _, name in sorted(names)[:5]])
        row = found.sel(test=test)
        assert int(row["n_candidates"]) == len(names)
        assert float(row["jaccard"]) == pytest.approx(
            len(set(tops[0]) & set(tops[1])) / len(set(tops[0]) | set(tops[1]))
        )
        expected = by_definition(tops[0], tops[1], 0.9)
        assert float(row["rank_biased_overlap"]) == pytest.approx(expected)


def test_a_run_overlaps_wholly_with_itself_and_by_chance_with_noise() -> None:
    one = in_memory(scores(3, 4, 32, 1), TRAIN, TEST)
    same = overlap(one, one, 5)
    np.testing.assert_allclose(same["jaccard"], 1)
    np.testing.assert_allclose(same["rank_biased_overlap"], 1)
    tests = ["ko"] * 400
    noise = [in_memory(scores(3, 400, 32, s), TRAIN, tests) for s in (3, 4)]
    found = overlap_by_language(overlap(*noise, 5)).isel(test_language=0)
    for name in ("jaccard", "rank_biased_overlap"):
        assert float(found[name]) == pytest.approx(float(found[f"expected_{name}"]), abs=0.03)


def test_two_runs_whose_scores_are_all_tied_overlap_by_chance() -> None:
    """Each breaks ties by an order of its own: one order for both would make them agree wholly."""
    tied = in_memory(np.zeros((3, 400, 32), dtype=np.float32), TRAIN, ["ko"] * 400)
    other = Influence(tied.dataset.copy())
    for one, two in ((tied, other), (tied, tied)):
        found = overlap(one, two, 5)
        for name in ("jaccard", "rank_biased_overlap"):
            error = 4 * float(found[name].std()) / 400**0.5
            expected = float(found[f"expected_{name}"][0])
            assert float(found[name].mean()) == pytest.approx(expected, abs=error)


def test_means_by_language_have_the_intervals_of_the_statistics() -> None:
    runs = [in_memory(scores(3, 12, 32, s), TRAIN, ["ko", "en", "de"] * 4) for s in (1, 2)]
    overlaps = overlap(*runs, 6)
    found = overlap_by_language(overlaps)
    expected = mean_intervals(overlaps["jaccard"], (0.0, 1.0))
    np.testing.assert_array_equal(found["jaccard_low"], expected["low"])
    for language in ("ko", "en", "de"):
        rows = overlaps["test_language"].values == language
        one = found.sel(test_language=language)
        assert float(one["jaccard"]) == pytest.approx(
            statistics.mean(overlaps["jaccard"].values[rows].tolist())
        )
        assert float(one["expected_jaccard"]) == overlaps["expected_jaccard"].values[rows][0]


def test_pairs_of_runs_are_joined_as_the_seeds_of_a_study_are() -> None:
    runs = [in_memory(scores(3, 12, 32, s), TRAIN, ["ko", "en", "de"] * 4) for s in range(6)]
    pairs = {seed: overlap(runs[seed], runs[seed + 3], 6) for seed in range(3)}
    found = overlap_over_seeds(pairs)
    expected = combine_seeds({s: one["jaccard"] for s, one in pairs.items()}, 0.0, (0.0, 1.0))
    for name, ours in (("low", "jaccard_low"), ("high", "jaccard_high"), ("mean", "jaccard")):
        np.testing.assert_array_equal(found[ours], expected[name])
    korean = pairs[0]["test_language"].values == "ko"
    means = [one["jaccard"].values[korean].mean() for one in pairs.values()]
    cell = found.sel(test_language="ko")
    assert float(cell["jaccard"]) == pytest.approx(np.mean(means))
    assert float(cell["seed_standard_deviation"]) == pytest.approx(np.std(means, ddof=1))
    given = [one["expected_jaccard_given_labels"].values[korean].mean() for one in pairs.values()]
    assert float(cell["expected_jaccard_given_labels"]) == pytest.approx(np.mean(given))


def test_runs_that_cannot_be_compared_are_refused() -> None:
    one = in_memory(scores(3, 4, 32, 1), TRAIN, TEST)
    with pytest.raises(InfluenceError, match="k is 20, but the runs have only 16"):
        overlap(one, one, 20)
    with pytest.raises(InfluenceError, match="persistence is 1"):
        overlap(one, one, 5, persistence=1)
    renamed = Influence(one.dataset.assign_coords(test=[f"other-{i}" for i in range(4)]))
    with pytest.raises(InfluenceError, match="no test example in common"):
        overlap(one, renamed, 5)
    others = in_memory(scores(3, 4, 32, 1), ["de", "en", "fr", "en"] * 8, TEST)
    with pytest.raises(
        InfluenceError, match=r'"train-0" has the language "en" in one run and "de"'
    ):
        overlap(one, others, 5)
