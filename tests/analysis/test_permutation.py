"""The permutation null, against loops, all permutations of a small problem, and simulation."""

import itertools
import time

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_values import score_matrix

from sprachbund.analysis.measures import by_test_language, mass_weights, top_shares, top_weights
from sprachbund.analysis.permutation import benjamini_hochberg, permutation_test
from sprachbund.errors import InfluenceError

CELL = {"test_language": "ko", "train_language": "de"}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def every_labelling(train: list[str], item: list[str]) -> list[list[str]]:
    """Each way to exchange labels within items, once for each permutation, in plain Python."""
    sets = [[n for n in range(len(train)) if item[n] == name] for name in sorted(set(item))]
    labellings = []
    for choice in itertools.product(*(itertools.permutations(members) for members in sets)):
        labels = list(train)
        for members, permuted in zip(sets, choice, strict=True):
            for n, source in zip(members, permuted, strict=True):
                labels[n] = train[source]
        labellings.append(labels)
    return labellings


@pytest.mark.parametrize("item", [[""] * 6, ["a", "a", "b", "b", "b", "a"]])
def test_null_and_p_value_are_those_of_all_permutations(item: list[str]) -> None:
    train = ["de", "en", "de", "en", "en", "fr"]
    scores = score_matrix(normal(4, 6), train, ["ko"] * 4, train_item=item)
    sums = [
        sum(float(x) for x, label in zip(scores.mean("test"), labels, strict=True) if label == "de")
        for labels in every_labelling(train, item)
    ]
    centre = sum(sums) / len(sums)
    observed = sums[0]  # the first permutation is the identity
    p_value = np.mean([abs(x - centre) >= abs(observed - centre) - 1e-12 for x in sums])
    found = permutation_test(scores, 20_000).sel(CELL)
    assert float(found["observed"]) == pytest.approx(observed)
    assert float(found["null_mean"]) == pytest.approx(centre), "the closed form is off"
    # 20,000 draws estimate a probability with a standard error below 0.004.
    assert float(found["p_value"]) == pytest.approx(p_value, abs=0.015)


def test_labels_are_exchanged_within_translation_sets_only() -> None:
    # Item effects are huge: if labels left their sets, the null would spread as widely.
    items = [str(i) for i in range(20) for _ in range(2)]
    values = np.repeat(100 * normal(20), 2)[None] + 0.01 * normal(1, 40, seed=1)
    within = permutation_test(score_matrix(values, ["en", "de"] * 20, ["ko"], train_item=items))
    free = permutation_test(score_matrix(values, ["en", "de"] * 20, ["ko"], train_item=[""] * 40))
    width = (within["null_high"] - within["null_low"]).sel(CELL)
    assert float(width) < 1
    assert float((free["null_high"] - free["null_low"]).sel(CELL)) > 100


def test_examples_without_translations_exchange_labels_with_one_another() -> None:
    train = ["en", "de", "en", "de", "en", "de"]
    # Item b is in one language only, as is an example without an item.
    scores = score_matrix(normal(1, 6), train, ["ko"], train_item=["a", "a", "b", "", "", "c"])
    found = permutation_test(scores, 5000).sel(CELL)
    values = scores.values[0]
    assert float(found["null_mean"]) == pytest.approx(values[:2].mean() + values[2:].sum() / 2)
    possible = {
        round(float(first + values[2 + i] + values[2 + j]), 6)
        for first in values[:2]
        for i, j in itertools.combinations(range(4), 2)
    }
    assert round(float(found["null_low"]), 6) in possible
    assert round(float(found["null_high"]), 6) in possible


# By (item, group): the positions that get one language together, for each language in turn.
BLOCKS = {
    "a, b of g": [[0, 3], [1, 4], [2, 5]],  # both in de, en and fr
    "c of g": [[6], [7]],  # in de and en only
    "d of no group": [[8], [9], [10]],
    "e of no group": [[11], [12]],
}
IN_BLOCKS = ["de", "en", "fr"] * 2 + ["de", "en"] + ["de", "en", "fr"] + ["en", "fr"]
ITEMS_OF_BLOCKS = [*"aaabbbccdddee"]
GROUPS_OF_BLOCKS = ["g"] * 8 + [""] * 5


def sums_of_all_exchanges(values: np.ndarray, blocks: list[list[list[int]]]) -> list[float]:
    """What German would have under each permutation of the languages within each block, as it is first."""
    sums = []
    for choice in itertools.product(*(itertools.permutations(block) for block in blocks)):
        labels: dict[int, str] = {}
        for block, permuted in zip(blocks, choice, strict=True):
            for together, source in zip(block, permuted, strict=True):
                labels |= dict.fromkeys(together, IN_BLOCKS[source[0]])
        sums.append(sum(float(values[n]) for n, label in labels.items() if label == "de"))
    return sums


@pytest.mark.parametrize("seed", range(3))
def test_items_of_one_group_and_the_same_languages_exchange_them_together(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(
        13
    )  # examples of a group need not be neighbours
    values = normal(1, 13, seed=seed)
    columns = {"train_item": ITEMS_OF_BLOCKS, "train_group": GROUPS_OF_BLOCKS}
    scores = score_matrix(
        values[:, order],
        [IN_BLOCKS[n] for n in order],
        ["ko"],
        **{name: [column[n] for n in order] for name, column in columns.items()},
    )
    sums = sums_of_all_exchanges(values[0], list(BLOCKS.values()))
    assert len(sums) == 6 * 2 * 6 * 2
    centre = np.mean(sums)
    p_value = np.mean([abs(x - centre) >= abs(sums[0] - centre) - 1e-6 for x in sums])
    found = permutation_test(scores, 20_000, level=0.9999).sel(CELL)
    assert float(found["observed"]) == pytest.approx(sums[0], rel=1e-5)
    assert float(found["null_mean"]) == pytest.approx(centre, rel=1e-5)
    assert float(found["p_value"]) == pytest.approx(p_value, abs=0.015)
    limits = float(found["null_low"]), float(found["null_high"])
    assert limits == pytest.approx((min(sums), max(sums)), rel=1e-5), "no other labelling may occur"


def test_without_groups_the_same_items_are_exchanged_one_by_one() -> None:
    columns = {"train_item": ITEMS_OF_BLOCKS, "train_group": [""] * 13}
    scores = score_matrix(normal(1, 13), IN_BLOCKS, ["ko"], **columns)
    alone = permutation_test(scores.drop_vars("train_group"), 999)
    xr.testing.assert_identical(alone, permutation_test(scores, 999))
    one_by_one = [[[3 * i + j] for j in range(3)] for i in range(2)]
    sums = sums_of_all_exchanges(scores.values[0], [*one_by_one, *list(BLOCKS.values())[1:]])
    found = permutation_test(scores, 20_000, level=0.9999).sel(CELL)
    assert float(found["null_high"]) == pytest.approx(max(sums), rel=1e-5)


def test_examples_of_one_group_and_language_without_translations_move_together() -> None:
    """Pairs exchange with pairs and single ones with single ones; a group of three finds no other and stays."""
    train = ["de", "de", "en", "en", "de", "en", "fr", "fr", "fr"]
    groups = ["g", "g", "h", "h", "", "i", "j", "j", "j"]
    scores = score_matrix(
        normal(1, 9), train, ["ko"], train_item=list("abcdefghi"), train_group=groups
    )
    x = scores.values[0]
    sums = [float(x[pair].sum() + x[one]) for pair in ([0, 1], [2, 3]) for one in (4, 5)]
    found = permutation_test(scores, 5000, level=0.9999)
    assert float(found["null_mean"].sel(CELL)) == pytest.approx(np.mean(sums), rel=1e-5)
    assert float(found["null_low"].sel(CELL)) == pytest.approx(min(sums), rel=1e-5)
    assert float(found["null_high"].sel(CELL)) == pytest.approx(max(sums), rel=1e-5)
    french = found.sel(test_language="ko", train_language="fr")
    assert float(french["null_low"]) == pytest.approx(float(x[6:].sum()), rel=1e-5)
    assert float(french["p_value"]) == 1


def test_what_is_observed_is_the_measure_itself() -> None:
    train, test = ["de", "en", "en", "fr"] * 6, ["ko", "en", "ko"]
    scores = score_matrix(normal(3, 24), train, test)
    found = permutation_test(top_weights(scores, 5), 99)
    shares = by_test_language(top_shares(scores, (5,))[0])
    np.testing.assert_allclose(found["observed"], shares)
    assert found["n_train"].values.tolist() == [6, 12, 6]
    assert found["n_test"].values.tolist() == [2, 1]
    np.testing.assert_allclose(found["null_mean"].sum("train_language"), 100)


def test_chance_under_permutation_is_the_share_of_the_training_set() -> None:
    train = ["de", "en", "en", "fr"] * 6
    free = score_matrix(normal(3, 24), train, ["ko"] * 3, train_item=[""] * 24)
    for weights in (top_weights(free, 5), mass_weights(free)):
        null = permutation_test(weights, 99)["null_mean"]
        np.testing.assert_allclose(null, [[25, 50, 25]])


def test_a_planted_language_is_found_and_the_others_are_not() -> None:
    train = ["de", "en", "fr", "ru"] * 50
    test = ["ko"] * 20 + ["en"] * 20
    items = [str(n // 4) for n in range(200)]
    values = normal(40, 200) + 3 * np.repeat(normal(1, 50, seed=1), 4, axis=1)
    values[:20, ::4] += 0.8  # Korean test examples rest on German
    scores = score_matrix(values, train, test, train_item=items)
    for weights in (top_weights(scores, 20), mass_weights(scores), scores):
        found = permutation_test(weights)
        assert float(found["q_value"].sel(CELL)) < 0.01
        assert float(found["observed"].sel(CELL)) > float(found["null_high"].sel(CELL))
        assert (found["q_value"].sel(test_language="en") > 0.05).all()


def test_p_values_are_never_zero() -> None:
    values = np.where(np.arange(40) % 2, 1.0, -1.0)[None] + 0.1 * normal(1, 40)
    found = permutation_test(score_matrix(values, ["en", "de"] * 20, ["ko"]), 999)
    np.testing.assert_allclose(found["p_value"], 1 / 1000)


def test_ties_count_as_being_as_far_off() -> None:
    # Every labelling gives the same sum, up to rounding.
    scores = score_matrix(np.full((3, 12), 0.1), ["en", "de", "fr"] * 4, ["ko"] * 3)
    assert (permutation_test(scores, 99)["p_value"] == 1).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_test_languages_and_the_unit_do_not_matter(seed: int) -> None:
    train, test = ["de", "en", "en"] * 5, ["ko", "en", "ko", "de"]
    values = normal(4, 15, seed=seed)
    plain = permutation_test(score_matrix(values, train, test), 99)
    other = permutation_test(score_matrix(-7 * values[::-1], train, test[::-1]), 99)
    other = other.sel(test_language=plain["test_language"])
    np.testing.assert_allclose(other["p_value"], plain["p_value"])
    np.testing.assert_allclose(other["null_mean"], -7 * plain["null_mean"])


def test_a_language_whose_tests_nothing_speaks_for_has_no_p_value() -> None:
    values = normal(4, 12)
    values[3] = -1.0
    scores = score_matrix(values, ["en", "de"] * 6, ["ko", "ko", "ko", "sw"])
    found = permutation_test(mass_weights(scores), 99)
    for name in ("p_value", "q_value", "observed", "null_low"):
        assert np.isnan(found[name].sel(test_language="sw")).all(), name
        assert not np.isnan(found[name].sel(test_language="ko")).any(), name


def test_one_language_alone_cannot_be_tested() -> None:
    with pytest.raises(
        InfluenceError, match="the training examples are of en, and none could have"
    ):
        permutation_test(score_matrix(normal(2, 4), ["en"] * 4, ["ko"] * 2))


def test_the_same_seed_gives_the_same_permutations() -> None:
    scores = score_matrix(normal(2, 12), ["en", "de"] * 6, ["ko", "en"])
    xr.testing.assert_identical(permutation_test(scores, 99), permutation_test(scores, 99))
    other = permutation_test(scores, 99, seed=1)
    assert not np.array_equal(other["p_value"], permutation_test(scores, 99)["p_value"])


def test_adjusted_p_values_are_those_of_benjamini_and_hochberg() -> None:
    p_values = np.array([[0.01, 0.04, np.nan], [0.03, 0.005, 0.8]])
    # Sorted 0.005 0.01 0.03 0.04 0.8; times 5 / rank; the least of itself and those after it.
    by_hand = {0.005: 0.025, 0.01: 0.025, 0.03: 0.05, 0.04: 0.05, 0.8: 0.8}
    for p_value, found in zip(p_values.ravel(), benjamini_hochberg(p_values).ravel(), strict=True):
        assert np.isnan(found) if np.isnan(p_value) else found == pytest.approx(by_hand[p_value])
    assert np.isnan(benjamini_hochberg(np.full(3, np.nan))).all()


def test_a_study_of_the_usual_size_takes_seconds() -> None:
    train = ["en", "de", "fr", "ru", "es"] * 300
    scores = score_matrix(normal(80, 1500), train, ["en", "de", "fr", "ru", "es"] * 16)
    start = time.perf_counter()
    permutation_test(top_weights(scores, 100), 1000)
    assert time.perf_counter() - start < 10  # 0.3 seconds where it was written


def test_groups_make_it_no_slower() -> None:
    train, items = ["en", "de", "fr", "ru", "es"] * 900, [str(n // 5) for n in range(4500)]
    values, tests = normal(20, 4500), ["en", "de", "fr", "ru", "es"] * 4
    seconds = {}
    for name, groups in (
        ("one by one", [""] * 4500),
        ("groups", [str(n // 15) for n in range(4500)]),
    ):
        scores = score_matrix(values, train, tests, train_item=items, train_group=groups)
        start = time.perf_counter()
        permutation_test(scores, 1000)
        seconds[name] = time.perf_counter() - start
    assert seconds["groups"] < seconds["one by one"] + 0.5, seconds
