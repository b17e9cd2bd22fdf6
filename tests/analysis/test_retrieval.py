"""The rank of translations, against sorting in plain Python and closed forms."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_values import LANGUAGES, partly_parallel, score_matrix

from sprachbund.analysis.retrieval import translation_ranks, translation_retrieval
from sprachbund.errors import InfluenceError


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 30))
def test_ranks_are_those_of_sorting_by_hand(seed: int, k: int) -> None:
    scores = partly_parallel(seed)
    found = translation_ranks(scores, k)["rank"]
    assert found.dims == ("test", "proponent", "train_language")
    train = list(zip(scores.train_language.values, scores.train_item.values, strict=True))
    for row, m in enumerate([0, 2, 3]):
        order = sorted(range(len(train)), key=lambda n: -float(scores[m, n]))
        own = [train[n][1] for n in order[:k] if train[n][0] == scores.test_language.values[m]]
        for language in LANGUAGES:
            column = [train[n][1] for n in order if train[n][0] == language]
            ranks = found.isel(test=row).sel(train_language=language).values
            for position in range(k):
                item = own[position] if position < len(own) else ""
                if item and item in column and language != scores.test_language.values[m]:
                    assert ranks[position] == column.index(item) + 1
                else:
                    assert np.isnan(ranks[position])


def test_translations_are_found_where_influence_is_by_item() -> None:
    by_item = np.repeat(np.random.default_rng(3).normal(size=(30, 60)), 3, axis=1)
    items = [str(n // 3) for n in range(180)]
    scores = score_matrix(by_item, LANGUAGES * 60, LANGUAGES * 10, train_item=items)
    found = translation_retrieval(translation_ranks(scores, 30))
    other = ~np.eye(3, dtype=bool)
    # The own-language proponents are the first 10 items, and so are their translations.
    np.testing.assert_allclose(found["rank_percent"].values[other], 100 * 5 / 60)
    np.testing.assert_allclose(found["found_percent"].values[other], 100)
    np.testing.assert_allclose(found["found_chance_percent"], 100 * 10 / 60)
    assert (found["n_translations"].values[other] == 10 * 10).all()


def test_translations_rank_in_the_middle_where_items_do_not_matter() -> None:
    values = np.random.default_rng(4).normal(size=(300, 180))
    items = [str(n // 3) for n in range(180)]
    scores = score_matrix(values, LANGUAGES * 60, LANGUAGES * 100, train_item=items)
    found = translation_retrieval(translation_ranks(scores, 60), first=15)
    other = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(found["rank_percent"].values[other], 50, atol=4)
    np.testing.assert_allclose(found["found_percent"].values[other], 25, atol=4)
    np.testing.assert_allclose(found["found_chance_percent"], 25)
    inside = (found["rank_percent_low"] <= 50) & (found["rank_percent_high"] >= 50)
    assert inside.values[other].sum() >= 5


def test_more_are_not_found_than_there_are() -> None:
    found = translation_retrieval(translation_ranks(partly_parallel(), 20), first=100)
    np.testing.assert_allclose(found["found_chance_percent"], 100)
    assert np.nanmin(found["found_percent"]) == 100


def test_a_language_does_not_translate_itself_and_others_are_left_out_by_name() -> None:
    found = translation_retrieval(translation_ranks(partly_parallel(), 20))
    assert found["test_language"].values.tolist() == ["en", "de"]
    assert found.attrs["left_out"] == ("ko",)
    for language in ("en", "de"):
        own = found.sel(test_language=language, train_language=language)
        assert np.isnan(own["rank_percent"])
        assert own["n_translations"] == 0


def test_data_that_is_not_parallel_is_refused() -> None:
    scores = score_matrix(np.zeros((2, 6)), ["en", "de"] * 3, ["en", "de"], train_item=[""] * 6)
    with pytest.raises(InfluenceError, match="not parallel"):
        translation_ranks(scores, 2)


def test_over_runs_the_rates_are_pooled_and_the_interval_is_for_other_runs_too() -> None:
    """Translations by chance in one run, always found in the other: the runs decide the width."""
    rng, items = np.random.default_rng(5), [str(n // 3) for n in range(180)]
    by_item = np.repeat(rng.normal(size=(300, 60)), 3, axis=1)
    made = {0: by_item, 1: rng.normal(size=(300, 180))}
    ranks = [
        translation_ranks(
            score_matrix(values, LANGUAGES * 60, LANGUAGES * 100, train_item=items), 60
        )
        for values in made.values()
    ]
    alone = [translation_retrieval(one) for one in ranks]
    found = translation_retrieval(xr.concat(ranks, "run"))
    weights = [one["n_translations"] for one in alone]
    pooled = sum(w * one["rank_percent"] for w, one in zip(weights, alone, strict=True))
    np.testing.assert_allclose(found["rank_percent"], pooled / sum(weights))
    np.testing.assert_allclose(found["n_translations"], sum(weights) / 2)
    other = ~np.eye(3, dtype=bool)
    assert (found["rank_percent_low"].values[other] == 0).all()  # t with one degree of freedom
    assert (found["rank_percent_high"].values[other] == 100).all()
    same = translation_retrieval(xr.concat([ranks[1]] * 2, "run"))
    for name in ("rank_percent_low", "rank_percent_high"):
        np.testing.assert_allclose(same[name], alone[1][name])
