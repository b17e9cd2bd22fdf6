"""Measures of score matrices, against loops in plain Python."""

import numpy as np
import pytest
from equal_scores import mean_count, possible_tops
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_values import example_values, score_matrix

from sprachbund.analysis.measures import (
    by_test_language,
    lift,
    mass_share,
    mass_weights,
    mean_influence,
    top_shares,
    top_weights,
)
from sprachbund.errors import InfluenceError
from sprachbund.influence import Sign

# Unequal counts, interleaved; Korean is zero-shot; "nan" is Min Nan Chinese.
TRAIN = ["de", "en", "en", "nan", "en", "de", "en", "en", "nan", "en", "de", "en"]
TEST = ["ko", "en", "en", "ko", "de", "en"]
LANGUAGES = ["de", "en", "nan"]
SIGNS: tuple[Sign, ...] = ("proponents", "opponents")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("sign", SIGNS)
def test_the_shares_of_every_k_are_what_counting_by_hand_gives(sign: Sign) -> None:
    values = normal(6, 12).round(1)  # with ties
    shares = top_shares(score_matrix(values, TRAIN, TEST), (1, 4, 12), sign)
    assert shares.sizes == {"k": 3, "test": 6, "train_language": 3}
    for m in range(6):
        for k in (1, 4, 12):
            tops = possible_tops(values[m], k, sign)
            for language in LANGUAGES:
                hits = mean_count(tops, [other == language for other in TRAIN])
                cell = shares.sel(k=k, train_language=language)[m]
                assert float(cell) == pytest.approx(100 * hits / k), (m, k, language)


@pytest.mark.parametrize("sign", SIGNS)
def test_mass_is_the_part_of_what_speaks_for_an_example(sign: Sign) -> None:
    values = normal(6, 12)
    direction = 1 if sign == "proponents" else -1
    shares = mass_share(score_matrix(values, TRAIN, TEST), sign)
    for m in range(6):
        speaking = [max(direction * float(x), 0.0) for x in values[m]]
        for language in LANGUAGES:
            part = sum(x for x, other in zip(speaking, TRAIN, strict=True) if other == language)
            expected = pytest.approx(100 * part / sum(speaking))
            assert float(shares.sel(train_language=language)[m]) == expected


def test_one_strong_proponent_holds_mass_that_counting_does_not_show() -> None:
    values = np.array([[9.0, 1, 1, 1]])
    scores = score_matrix(values, ["de", "en", "en", "en"], ["en"])
    assert top_shares(scores, (4,)).values.ravel().tolist() == [25, 75]
    assert mass_share(scores).values.ravel().tolist() == [75, 25]


def test_a_test_example_that_nothing_speaks_for_has_no_mass_share() -> None:
    values = normal(6, 12)
    values[2] = -1.0
    scores = score_matrix(values, TRAIN, TEST)
    shares = mass_share(scores)
    assert np.isnan(shares[2]).all()
    assert not np.isnan(shares[[0, 1, 3, 4, 5]]).any()
    assert not np.isnan(mass_share(scores, "opponents")[2]).any()
    english = by_test_language(shares).sel(test_language="en")
    np.testing.assert_allclose(english, shares[[1, 5]].mean("test"), err_msg="NaN must be left out")


def test_mean_influence_is_the_mean_over_both_languages() -> None:
    values = normal(6, 12)
    means = by_test_language(mean_influence(score_matrix(values, TRAIN, TEST)))
    for test_language in set(TEST):
        for train_language in LANGUAGES:
            cells = [
                float(values[m, n])
                for m in range(6)
                for n in range(12)
                if (TEST[m], TRAIN[n]) == (test_language, train_language)
            ]
            found = means.sel(test_language=test_language, train_language=train_language)
            assert float(found) == pytest.approx(sum(cells) / len(cells))
    assert means["n_train"].values.tolist() == [3, 7, 2]
    assert means["n_test"].values.tolist() == [2, 3, 1]


@pytest.mark.parametrize("sign", SIGNS)
def test_weights_add_up_to_the_shares_of_their_languages(sign: Sign) -> None:
    scores = score_matrix(normal(6, 12), TRAIN, TEST)
    pairs = (
        (top_weights(scores, 5, sign), top_shares(scores, (5,), sign)[0]),
        (mass_weights(scores, sign), mass_share(scores, sign)),
    )
    for weights, shares in pairs:
        for language in LANGUAGES:
            columns = [n for n in range(12) if TRAIN[n] == language]
            by_hand = weights.values[:, columns].sum(axis=1)
            np.testing.assert_allclose(by_hand, shares.sel(train_language=language))


def test_lift_is_one_where_the_share_is_that_of_the_training_set() -> None:
    scores = score_matrix(normal(6, 12), TRAIN, TEST)
    np.testing.assert_allclose(lift(top_shares(scores, (12,))), 1)
    np.testing.assert_allclose(lift(mass_share(score_matrix(np.ones((6, 12)), TRAIN, TEST))), 1)


def test_lift_of_unequal_languages_is_one_by_chance() -> None:
    train = ["en"] * 150 + ["de"] * 40 + ["fr"] * 10
    scores = score_matrix(normal(2000, 200), train, ["ko"] * 2000)
    for shares in (top_shares(scores, (5, 20)), mass_share(scores)):
        # Even of French, 2,000 test examples give the mean to within 5 percent of itself.
        np.testing.assert_allclose(by_test_language(lift(shares)), 1, atol=0.05)


def test_a_language_with_few_examples_and_strong_ones_is_lifted() -> None:
    values = np.array([[9.0, 8, 1, 1, 1, 1, 1, 1]])
    shares = top_shares(score_matrix(values, ["ko"] * 2 + ["en"] * 6, ["ko"]), (2, 4))
    assert lift(shares).sel(train_language="ko").values.ravel().tolist() == [4, 2]
    assert lift(shares).sel(train_language="en").values.ravel().tolist() == pytest.approx(
        [0, 2 / 3]
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    train=st.lists(st.sampled_from(["en", "de", "nan", "zh-Hant"]), min_size=1, max_size=20),
    sign=st.sampled_from(SIGNS),
)
def test_shares_sum_to_100_over_languages(seed: int, train: list[str], sign: Sign) -> None:
    scores = score_matrix(normal(5, len(train), seed=seed), train, ["ko"] * 5)
    shares = top_shares(scores, sorted({1, len(train) // 2 + 1, len(train)}), sign)
    np.testing.assert_allclose(shares.sum("train_language"), 100)
    mass = mass_share(scores, sign).sum("train_language", skipna=False)
    np.testing.assert_allclose(mass[~np.isnan(mass)], 100)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_examples_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, rows, columns = normal(6, 12, seed=seed), rng.permutation(6), rng.permutation(12)
    shuffled = score_matrix(
        values[rows][:, columns], [TRAIN[n] for n in columns], [TEST[m] for m in rows]
    )
    for measure in (lambda scores: top_shares(scores, (2, 5)), mass_share, mean_influence):
        plain = measure(score_matrix(values, TRAIN, TEST))
        found = measure(shuffled).sel(train_language=plain["train_language"])
        np.testing.assert_allclose(found, plain.isel(test=rows), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
def test_opponents_are_the_proponents_of_the_opposite_and_units_do_not_matter(
    seed: int, scale: float
) -> None:
    values = normal(6, 12, seed=seed)
    scores = score_matrix(values, TRAIN, TEST)
    opposite = score_matrix(-scale * values, TRAIN, TEST)
    np.testing.assert_array_equal(top_shares(opposite, (3,), "opponents"), top_shares(scores, (3,)))
    np.testing.assert_allclose(mass_share(opposite, "opponents"), mass_share(scores))
    np.testing.assert_allclose(mean_influence(opposite), -scale * mean_influence(scores))


def test_averages_keep_the_order_of_languages_and_the_other_dimensions() -> None:
    values = example_values(normal(2, 4, 3), ("k", "test", "x"), language=["nan", "b", "nan", "a"])
    means = by_test_language(values)
    assert means.dims == ("k", "test_language", "x")
    assert means["test_language"].values.tolist() == ["nan", "b", "a"]
    assert means["n_test"].values.tolist() == [2, 1, 1]
    np.testing.assert_allclose(means.sel(test_language="nan"), (values[:, 0] + values[:, 2]) / 2)


def test_a_language_without_any_value_has_no_mean_rather_than_zero() -> None:
    values = example_values(np.array([np.nan, np.nan, 1]), ("test",), language=["en", "en", "de"])
    means = by_test_language(values)
    assert np.isnan(means.sel(test_language="en"))
    assert means.sel(test_language="de") == 1


def test_what_cannot_be_a_top_is_refused() -> None:
    scores = score_matrix(normal(6, 12), TRAIN, TEST)
    with pytest.raises(InfluenceError, match="k is 25, but there are 12 training examples"):
        top_shares(scores, (10, 25))
    with pytest.raises(InfluenceError, match=r"k is 0, .* must lie in 1\.\.12"):
        top_weights(scores, 0)
    with pytest.raises(InfluenceError, match="no k is given"):
        top_shares(scores, ())
    with pytest.raises(InfluenceError, match='sign is "friends"'):
        mass_share(scores, "friends")  # type: ignore[arg-type]
