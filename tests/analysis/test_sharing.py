"""Sharing between languages, against counting by hand."""

import numpy as np
import pytest
from equal_scores import mean_count, possible_tops
from hypothesis import given, settings
from hypothesis import strategies as st

from sprachbund.analysis.sharing import (
    example_share,
    example_shares,
    expected_share,
    language_mass_share,
    language_mean_influence,
    language_share,
    language_shares,
)
from sprachbund.errors import InfluenceError, SprachbundWarning
from sprachbund.influence import Influence, Sign
from synthetic_influence import in_memory, scores

pytestmark = pytest.mark.filterwarnings("ignore::sprachbund.errors.SprachbundWarning")

# Unequal counts in both, interleaved; Korean is zero-shot.
TRAIN = ["de", "en", "en", "fr", "en", "de", "en", "en", "fr", "en", "de", "en"]
TEST = ["ko", "en", "en", "ko", "de", "en"]


def count_by_hand(total: np.ndarray, k: int, sign: Sign) -> dict[tuple[str, str], float]:
    """Share of every language pair in percent, by sorting and counting in plain Python."""
    shares: dict[tuple[str, str], float] = {}
    for test_language in set(TEST):
        rows = [m for m, language in enumerate(TEST) if language == test_language]
        for train_language in set(TRAIN):
            percents = []
            for m in rows:
                tops = possible_tops(total[m], k, sign)
                hits = mean_count(tops, [language == train_language for language in TRAIN])
                percents.append(100 * hits / k)
            shares[test_language, train_language] = sum(percents) / len(percents)
    return shares


@pytest.mark.parametrize("sign", ["proponents", "opponents"])
@pytest.mark.parametrize("k", [1, 3, 12])
def test_share_is_what_counting_by_hand_gives(sign: Sign, k: int) -> None:
    values = scores(3, len(TEST), len(TRAIN))
    share = language_share(in_memory(values, TRAIN, TEST), k, sign)
    expected = count_by_hand(values[1:].astype(float).sum(0), k, sign)
    assert share.sizes == {"test_language": 3, "train_language": 3}
    for (test_language, train_language), percent in expected.items():
        cell = share.sel(test_language=test_language, train_language=train_language)
        assert float(cell) == pytest.approx(percent), (test_language, train_language)


def test_share_at_a_checkpoint_uses_that_checkpoint_alone() -> None:
    values = scores(3, len(TEST), len(TRAIN))
    share = language_share(in_memory(values, TRAIN, TEST), 3, checkpoint=10)
    expected = count_by_hand(values[1].astype(float), 3, "proponents")
    assert float(share.sel(test_language="ko", train_language="en")) == pytest.approx(
        expected["ko", "en"]
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    train=st.lists(st.sampled_from(["en", "de", "fr", "zh-Hant"]), min_size=1, max_size=20),
    test=st.lists(st.sampled_from(["en", "ko", "fr"]), min_size=1, max_size=6),
    data=st.data(),
)
def test_shares_sum_to_100(
    seed: int, train: list[str], test: list[str], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(train)))
    influence = in_memory(scores(3, len(test), len(train), seed), train, test)
    share = language_share(influence, k)
    np.testing.assert_allclose(share.sum("train_language"), 100)
    np.testing.assert_allclose(example_share(influence, k).sum("train_language"), 100)
    assert share["n_test"].values.sum() == len(test)
    assert float(expected_share(influence).sum()) == pytest.approx(100)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 12))
def test_the_order_of_the_training_set_does_not_matter(seed: int, k: int) -> None:
    values = scores(3, len(TEST), len(TRAIN), seed)
    order = np.random.default_rng(seed).permutation(len(TRAIN))
    share = language_share(in_memory(values, TRAIN, TEST), k)
    shuffled = in_memory(values[:, :, order], [TRAIN[n] for n in order], TEST)
    np.testing.assert_allclose(
        language_share(shuffled, k).sel(train_language=share.train_language), share
    )


def test_the_whole_training_set_has_the_expected_share_and_chance_stands_beside() -> None:
    influence = in_memory(scores(3, len(TEST), len(TRAIN)), TRAIN, TEST)
    share = language_share(influence, len(TRAIN))
    by_hand = {"de": 100 * 3 / 12, "en": 100 * 7 / 12, "fr": 100 * 2 / 12}
    for language, percent in by_hand.items():
        column = share.sel(train_language=language)
        np.testing.assert_allclose(column, percent)
        assert float(column["expected_percent"]) == pytest.approx(percent)
    assert expected_share(influence)["n_train"].values.tolist() == [3, 7, 2]


def test_random_scores_share_by_chance() -> None:
    train = ["en"] * 300 + ["de"] * 100
    share = language_share(in_memory(scores(3, 200, 400), train, ["ko"] * 200), 20)
    # The mean of 200 x 20 draws with probability 1/4 has a standard deviation below 0.7 percent.
    assert float(share.sel(test_language="ko", train_language="de")) == pytest.approx(25, abs=3)


def test_languages_keep_their_order_of_appearance() -> None:
    share = language_share(in_memory(scores(3, 6, 12), TRAIN, TEST), 2)
    assert share["train_language"].values.tolist() == ["de", "en", "fr"]
    assert share["test_language"].values.tolist() == ["ko", "en", "de"]
    assert share["n_test"].values.tolist() == [2, 3, 1]


def test_each_test_example_counts_the_same_within_its_language() -> None:
    influence = in_memory(scores(3, len(TEST), len(TRAIN)), TRAIN, TEST)
    single = example_share(influence, 4)
    averaged = single.groupby("test_language").mean()
    share = language_share(influence, 4)
    np.testing.assert_allclose(averaged.sel(test_language=share.test_language), share)


def test_a_k_larger_than_the_training_set_is_refused() -> None:
    influence = in_memory(scores(3, 6, 12), TRAIN, TEST)
    with pytest.raises(InfluenceError, match="k is 100, but there are 12 training examples"):
        language_share(influence)


def test_a_k_above_a_third_of_the_training_set_is_warned_of() -> None:
    influence: Influence = in_memory(scores(3, 6, 12), TRAIN, TEST)
    with pytest.warns(SprachbundWarning, match="k is 5 of 12 training examples"):
        language_share(influence, 5)


@pytest.mark.filterwarnings("error::sprachbund.errors.SprachbundWarning")
def test_a_k_of_a_third_is_not_warned_of() -> None:
    language_share(in_memory(scores(3, 6, 12), TRAIN, TEST), 4)


@pytest.mark.parametrize("sign", ["proponents", "opponents"])
def test_the_shares_of_many_k_are_those_of_each_k_alone(sign: Sign) -> None:
    influence = in_memory(scores(3, len(TEST), len(TRAIN)), TRAIN, TEST)
    for checkpoint in (None, 10):
        shares = language_shares(influence, (1, 3, 4), sign, checkpoint)
        single = example_shares(influence, (1, 3, 4), sign, checkpoint)
        assert shares.dims == ("k", "test_language", "train_language")
        for k in (1, 3, 4):
            alone = language_share(influence, k, sign, checkpoint)
            np.testing.assert_array_equal(shares.sel(k=k), alone)
            alone = example_share(influence, k, sign, checkpoint)
            np.testing.assert_array_equal(single.sel(k=k), alone)


def test_mass_and_mean_influence_are_of_the_total_or_of_one_checkpoint() -> None:
    values = scores(3, len(TEST), len(TRAIN)).astype(float)
    influence = in_memory(values, TRAIN, TEST, method="tracin")
    for checkpoint, matrix in ((None, 0.3 * values[1] + 0.1 * values[2]), (10, values[1])):
        english = [m for m, language in enumerate(TEST) if language == "en"]
        german = [n for n, language in enumerate(TRAIN) if language == "de"]
        positive = np.maximum(matrix, 0)[english]
        by_hand = (100 * positive[:, german].sum(axis=1) / positive.sum(axis=1)).mean()
        cell = {"test_language": "en", "train_language": "de"}
        mass = language_mass_share(influence, checkpoint=checkpoint)
        assert float(mass.sel(cell)) == pytest.approx(by_hand)
        mean = language_mean_influence(influence, checkpoint)
        assert float(mean.sel(cell)) == pytest.approx(matrix[np.ix_(english, german)].mean())


def test_chance_stands_beside_every_share() -> None:
    influence = in_memory(scores(3, len(TEST), len(TRAIN)), TRAIN, TEST)
    by_hand = [100 * 3 / 12, 100 * 7 / 12, 100 * 2 / 12]
    for found in (
        language_shares(influence, (2, 4)),
        example_shares(influence, (2, 4)),
        language_mass_share(influence),
    ):
        np.testing.assert_allclose(found["expected_percent"], by_hand)
