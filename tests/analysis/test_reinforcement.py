"""Reinforcing and complementary proponents, against counting and drawing in plain Python."""

import random
from functools import partial

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_values import LANGUAGES, partly_parallel, score_matrix

from sprachbund.analysis.dynamics import running
from sprachbund.analysis.reinforcement import reinforcement, reinforcement_rate
from sprachbund.analysis.retrieval import translation_ranks, translation_retrieval
from sprachbund.errors import InfluenceError
from synthetic_influence import in_memory
from synthetic_influence import scores as checkpoint_scores


def count_by_hand(
    scores: xr.DataArray, m: int, k: int, language: str
) -> tuple[int, int, float, float, int]:
    """Reinforcing, complementary and expected reinforcing, also given labels, and without an item."""
    train = list(zip(scores.train_language.values, scores.train_item.values, strict=True))
    order = sorted(range(len(train)), key=lambda n: (-float(scores[m, n]), n))[:k]
    own = str(scores.test_language.values[m])
    own_items = {item for n in order for lang, item in [train[n]] if lang == own and item}
    drawn = [train[n][1] for n in order if train[n][0] == language and train[n][1]]
    reinforcing = sum(item in own_items for item in drawn)
    pool = [item for lang, item in train if lang == language and item]
    share = sum(item in own_items for item in pool) / len(pool)
    labels = scores.train_label.values
    given = 0.0
    for n in order:
        if train[n][0] == language and train[n][1]:
            like = [
                item
                for (lang, item), label in zip(train, labels, strict=True)
                if lang == language and item and label == labels[n]
            ]
            given += sum(item in own_items for item in like) / len(like)
    n_without = sum(train[n] == (language, "") for n in order)
    return reinforcing, len(drawn) - reinforcing, len(drawn) * share, given, n_without


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_those_of_counting_by_hand(seed: int) -> None:
    scores = partly_parallel(seed)
    found = reinforcement(scores, (1, 10, 20, scores.sizes["train"]))
    assert found["reinforcing"].dims == ("k", "test", "train_language")
    kept = [0, 2, 3]  # Korean was not trained on
    assert found["test"].values.tolist() == scores["test"].values[kept].tolist()
    for k in found["k"].values:
        for row, m in enumerate(kept):
            for language in LANGUAGES:
                cell = found.sel(k=k, train_language=language).isel(test=row)
                numbers = [float(cell[name]) for name in found.data_vars]
                if language == scores.test_language.values[m]:
                    assert np.isnan(numbers).all(), "a language does not reinforce itself"
                else:
                    assert numbers == pytest.approx(count_by_hand(scores, m, int(k), language))


def test_the_expected_count_is_that_of_drawing_at_random() -> None:
    scores = partly_parallel(1)
    k, draws = 20, 20_000
    found = reinforcement(scores, (k,)).isel(k=0, test=0)
    train = list(zip(scores.train_language.values, scores.train_item.values, strict=True))
    order = sorted(range(len(train)), key=lambda n: -float(scores[0, n]))[:k]
    own_items = {train[n][1] for n in order if train[n][0] == "en"}
    generator = random.Random(0)
    for language in ("de", "nan"):
        pool = [item for lang, item in train if lang == language and item]
        n_drawn = sum(train[n][0] == language and train[n][1] != "" for n in order)
        assert 0 < n_drawn < len(pool), "the case must not be trivial"
        hits = [
            sum(item in own_items for item in generator.sample(pool, n_drawn)) for _ in range(draws)
        ]
        # The standard error of the mean is below 0.015.
        expected = float(found["expected_reinforcing"].sel(train_language=language))
        assert expected == pytest.approx(sum(hits) / draws, abs=0.05)


def test_influence_without_regard_to_items_reinforces_as_expected() -> None:
    train = LANGUAGES * 60
    items = [str(n // 3) for n in range(180)]
    values = np.random.default_rng(2).normal(size=(300, 180))
    scores = score_matrix(values, train, LANGUAGES * 100, train_item=items)
    rate = reinforcement_rate(reinforcement(scores, (40,))).isel(k=0)
    excess = rate["excess_percent"].values[~np.eye(3, dtype=bool)]
    np.testing.assert_allclose(excess, 0, atol=3)
    inside = (rate["excess_percent_low"] <= 0) & (rate["excess_percent_high"] >= 0)
    assert inside.values[~np.eye(3, dtype=bool)].sum() >= 5


def test_influence_by_label_alone_reinforces_as_the_labels_say_and_no_more() -> None:
    rng, items = np.random.default_rng(8), [str(n // 3) for n in range(360)]
    labels = np.array([["x", "y", "z"][int(item) % 3] for item in items], dtype=object)
    values = rng.normal(size=(900, 360)) + 2.0 * (labels == "x")
    scores = score_matrix(
        values, LANGUAGES * 120, LANGUAGES * 300, train_item=items, train_label=labels
    )
    rate = reinforcement_rate(reinforcement(scores, (40,))).isel(k=0)
    other = ~np.eye(3, dtype=bool)
    assert (rate["excess_percent"].values[other] > 10).all(), "the case must not be trivial"
    np.testing.assert_allclose(rate["excess_given_labels_percent"].values[other], 0, atol=3)
    retrieved = translation_retrieval(translation_ranks(scores, 40))
    assert (retrieved["rank_percent"].values[other] < 40).all()
    np.testing.assert_allclose(retrieved["rank_in_label_percent"].values[other], 50, atol=4)


def test_influence_by_item_alone_is_all_reinforcing_and_found_to_be() -> None:
    items = [str(n // 3) for n in range(180)]
    by_item = np.repeat(np.random.default_rng(3).normal(size=(30, 60)), 3, axis=1)
    scores = score_matrix(by_item, LANGUAGES * 60, LANGUAGES * 10, train_item=items)
    rate = reinforcement_rate(reinforcement(scores, (30,))).isel(k=0)
    other = ~np.eye(3, dtype=bool)
    assert (rate["reinforcing_percent"].values[other] == 100).all()
    np.testing.assert_allclose(rate["expected_percent"].values[other], 100 * 10 / 60)
    assert (rate["excess_percent"].values[other] > 80).all()


def test_influence_of_other_items_is_all_complementary() -> None:
    # English test examples rest on English items 0 to 9 and on German items 10 to 19.
    train = ["en"] * 20 + ["de"] * 20
    items = [str(i) for i in range(20)] * 2
    values = np.array([[1.0] * 10 + [0.0] * 20 + [1.0] * 10] * 3)
    counts = reinforcement(score_matrix(values, train, ["en"] * 3, train_item=items), (20,))
    german = counts.sel(k=20, train_language="de")
    assert german["reinforcing"].values.tolist() == [0, 0, 0]
    assert german["complementary"].values.tolist() == [10, 10, 10]
    assert german["expected_reinforcing"].values.tolist() == [5, 5, 5]
    rate = reinforcement_rate(counts).sel(k=20, train_language="de")
    assert float(rate["reinforcing_percent"][0]) == 0
    assert float(rate["excess_percent"][0]) == -50


def test_the_rate_of_a_language_pair_counts_every_proponent_alike() -> None:
    scores = partly_parallel(4, test=("en", "en", "de"))
    counts = reinforcement(scores, (12,))
    by_hand = [count_by_hand(scores, m, 12, "nan") for m in (0, 1)]
    rate = reinforcement_rate(counts).sel(k=12, test_language="en", train_language="nan")
    total = sum(reinforcing + rest for reinforcing, rest, *_ in by_hand)
    reinforcing, expected, given = (sum(row[i] for row in by_hand) for i in (0, 2, 3))
    assert float(rate["reinforcing_percent"]) == pytest.approx(100 * reinforcing / total)
    assert float(rate["expected_percent"]) == pytest.approx(100 * expected / total)
    assert float(rate["excess_percent"]) == pytest.approx(100 * (reinforcing - expected) / total)
    assert float(rate["expected_given_labels_percent"]) == pytest.approx(100 * given / total)
    excess = float(rate["excess_given_labels_percent"])
    assert excess == pytest.approx(100 * (reinforcing - given) / total)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 30))
def test_every_proponent_with_an_item_is_one_or_the_other(seed: int, k: int) -> None:
    scores = partly_parallel(seed)
    found = reinforcement(scores, (k,)).isel(k=0)
    items = scores.train_item.values
    for m, language in ((0, "en"), (2, "de")):
        top = np.argsort(-scores.values[m], kind="stable")[:k]
        other = [n for n in top if scores.train_language.values[n] != language and items[n] != ""]
        row = found.sel(test=scores["test"].values[m])
        total = row["reinforcing"].sum() + row["complementary"].sum()
        assert float(total) == len(other)


def test_a_row_says_how_many_proponents_it_rests_on_and_how_many_had_no_item() -> None:
    scores = partly_parallel(6, test=("en", "en", "de", "en"))
    other = scores.copy(data=np.random.default_rng(7).normal(size=scores.shape))
    by_run = [reinforcement(one, (25,)) for one in (scores, other)]
    rate = reinforcement_rate(by_run[0]).isel(k=0)
    for language in ("de", "nan"):
        by_hand = [count_by_hand(scores, m, 25, language) for m in (0, 1, 3)]
        row = rate.sel(test_language="en", train_language=language)
        with_item = sum(reinforcing + rest for reinforcing, rest, *_ in by_hand)
        assert float(row["n_proponents"]) == pytest.approx(with_item / 3)
        assert float(row["n_without_item"]) == pytest.approx(sum(r[4] for r in by_hand) / 3)
    nameless = rate["n_without_item"].sel(test_language="en")
    assert float(nameless.sel(train_language="nan")) > 0, "the case must not be trivial"
    own = rate.sel(test_language="en", train_language="en")
    assert own[["n_proponents", "n_without_item"]].isnull().to_array().all()
    both = reinforcement_rate(xr.concat(by_run, "run"))
    single = [reinforcement_rate(one)["n_proponents"] for one in by_run]
    np.testing.assert_allclose(both["n_proponents"], (single[0] + single[1]) / 2)


def test_test_languages_that_were_not_trained_on_are_left_out_by_name() -> None:
    found = reinforcement(partly_parallel(), (5,))
    assert found.attrs["left_out"] == ("ko",)
    rate = reinforcement_rate(found)
    assert rate["test_language"].values.tolist() == ["en", "de"]
    assert rate.attrs["left_out"] == ("ko",)


def test_languages_without_common_items_have_no_rate_rather_than_none() -> None:
    train, items = ["en", "de", "fr"] * 4, ["0", "0", "f0"] * 1
    items = [name for i in range(4) for name in (f"{i}", f"{i}", f"f{i}")]
    values = np.random.default_rng(0).normal(size=(2, 12))
    found = reinforcement(score_matrix(values, train, ["en", "fr"], train_item=items), (6,))
    assert found["reinforcing"].sel(train_language="de").isel(test=0).notnull().all()
    assert found["reinforcing"].sel(train_language="fr").isnull().all()
    assert found.isel(test=1)["complementary"].isnull().all()


def test_the_course_over_training_can_be_followed() -> None:
    train = LANGUAGES * 8
    influence = in_memory(
        checkpoint_scores(3, 4, 24),
        train,
        ["en", "de"] * 2,
        train_item=[str(n // 3) for n in range(24)],
    )
    course = running(influence, partial(reinforcement, ks=(5, 10)))
    assert course["reinforcing"].dims == ("checkpoint", "k", "test", "train_language")
    last = course.isel(checkpoint=-1).drop_vars(["checkpoint", "epoch"])
    xr.testing.assert_allclose(last, reinforcement(influence.total(), (5, 10)))


def test_data_that_is_not_parallel_is_refused_rather_than_counted_as_zero() -> None:
    values = np.zeros((2, 6))
    for items in ([""] * 6, [str(n) for n in range(6)]):
        scores = score_matrix(values, ["en", "de"] * 3, ["en", "de"], train_item=items)
        with pytest.raises(
            InfluenceError, match=r"not parallel: no item of a test language \(en, de\)"
        ):
            reinforcement(scores, (2,))


def test_languages_none_of_which_was_trained_on_are_refused() -> None:
    scores = score_matrix(np.zeros((3, 6)), ["en", "de"] * 3, ["ko", "sw", "ko"])
    with pytest.raises(
        InfluenceError, match=r"none of the test languages \(ko, sw\) was trained on"
    ):
        reinforcement(scores, (2,))


def test_an_item_twice_in_a_language_is_refused() -> None:
    scores = score_matrix(
        np.zeros((1, 4)), ["en", "de", "en", "de"], ["en"], train_item=list("aabb")
    )
    reinforcement(scores, (2,))
    scores = score_matrix(
        np.zeros((1, 4)), ["en", "de", "en", "de"], ["en"], train_item=list("aaab")
    )
    with pytest.raises(InfluenceError, match='item "a" has two training examples in en'):
        reinforcement(scores, (2,))


def test_a_k_larger_than_the_training_set_is_refused() -> None:
    with pytest.raises(InfluenceError, match="k is 50, but there are 32 training examples"):
        reinforcement(partly_parallel())
