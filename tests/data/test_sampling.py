"""Sampling: the same items in every language, nested, in proportion, and whatever the order of the rows."""

import random
from collections import Counter
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprachbund.data import Corpus, sample
from sprachbund.errors import DataError

LANGUAGES = ["en", "de", "ko"]
SEEDS = st.integers(min_value=0, max_value=2**32)


@cache
def parallel(
    n: int, languages: tuple[str, ...] = tuple(LANGUAGES), labels: str = "aab", order: int = 0
) -> Corpus:
    rows = [
        {
            "language": lang,
            "item": f"i{i}",
            "text": f"{lang} {i}",
            "label": labels[i % len(labels)],
            "split": "train",
        }
        for lang in languages
        for i in range(n)
    ]
    random.Random(order).shuffle(rows)
    return Corpus.from_rows(rows, labels=sorted(set(labels)), name="parallel")


@cache
def unrelated(en: int = 20, de: int = 20, ko: int = 20, order: int = 0) -> Corpus:
    counts = {"en": en, "de": de, "ko": ko}
    rows = [
        {"language": lang, "text": f"{lang} {i // 2}", "label": "xyz"[i % 3], "split": "train"}
        for lang, n in counts.items()
        for i in range(n)
    ]
    random.Random(order).shuffle(rows)
    return Corpus.from_rows(rows, name="unrelated")


def items(corpus: Corpus, language: str) -> list[str]:
    return corpus.frame.loc[corpus.frame["language"] == language, "item"].tolist()


def contents(corpus: Corpus) -> list[tuple[str, ...]]:
    return list(
        corpus.frame[["language", "item", "text", "label"]].itertuples(index=False, name=None)
    )


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, count=st.integers(1, 20))
def test_parallel_data_yields_the_same_items_in_every_language(seed: int, count: int) -> None:
    drawn = sample(parallel(20), split="train", languages=LANGUAGES, per_language=count, seed=seed)
    assert drawn.is_parallel
    assert drawn.languages == tuple(LANGUAGES)
    assert all(items(drawn, language) == items(drawn, "en") for language in LANGUAGES)
    assert len(set(items(drawn, "en"))) == count


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, counts=st.tuples(*[st.integers(1, 20)] * 3))
def test_items_of_a_smaller_count_are_the_first_of_a_larger_one(
    seed: int, counts: tuple[int, int, int]
) -> None:
    asked = dict(zip(LANGUAGES, counts, strict=True))
    drawn = sample(parallel(20), split="train", languages=LANGUAGES, per_language=asked, seed=seed)
    longest = max((items(drawn, language) for language in LANGUAGES), key=len)
    for language, count in asked.items():
        assert items(drawn, language) == longest[:count], (
            "unequal counts must be nested, or languages are not comparable"
        )


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, small=st.integers(1, 20), large=st.integers(1, 20), is_parallel=st.booleans())
def test_a_smaller_sample_of_a_seed_is_part_of_a_larger_one(
    seed, small, large, is_parallel
) -> None:
    corpus = parallel(20) if is_parallel else unrelated()
    first, second = (
        contents(sample(corpus, split="train", languages=LANGUAGES, per_language=n, seed=seed))
        for n in sorted((small, large))
    )
    assert Counter(first) <= Counter(second)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, order=st.integers(1, 1000), is_parallel=st.booleans())
def test_the_order_of_rows_does_not_matter(seed: int, order: int, is_parallel: bool) -> None:
    def drawn(order: int) -> list[tuple[str, ...]]:
        corpus = parallel(12, order=order) if is_parallel else unrelated(12, 12, 12, order)
        return contents(
            sample(corpus, split="train", languages=LANGUAGES, per_language=7, seed=seed)
        )

    assert drawn(0) == drawn(order)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, labels=st.text("abcde", min_size=1, max_size=12), count=st.integers(1, 36))
def test_labels_keep_their_proportions(seed: int, labels: str, count: int) -> None:
    corpus = parallel(36, ("en",), labels)
    drawn = sample(corpus, split="train", languages=["en"], per_language=count, seed=seed)
    got, whole = Counter(drawn.frame["label"]), Counter(corpus.frame["label"])
    for label, number in whole.items():
        share = number / 36
        assert abs(got[label] - count * share) <= (1 + share * len(whole)) / 2 + 1e-9, (
            "the documented bound"
        )


def test_seeds_differ() -> None:
    draws = [
        sample(parallel(40), split="train", languages=["en"], per_language=10, seed=seed)
        for seed in range(5)
    ]
    assert len({tuple(items(draw, "en")) for draw in draws}) == 5


def test_items_missing_in_a_language_are_drawn_for_none() -> None:
    whole = parallel(10)
    frame = whole.frame[
        ~((whole.frame["language"] == "ko") & whole.frame["item"].isin(["i1", "i2", "i3"]))
    ]
    corpus = Corpus(frame.reset_index(drop=True), whole.labels, "gaps")
    drawn = sample(corpus, split="train", languages=LANGUAGES, per_language=7, seed=0)
    assert set(items(drawn, "en")) == {"i0", "i4", "i5", "i6", "i7", "i8", "i9"}
    without = sample(corpus, split="train", languages=["en", "de"], per_language=10, seed=0)
    assert len(set(items(without, "en"))) == 10
    more = sample(
        corpus,
        split="train",
        languages=LANGUAGES,
        per_language={"en": 10, "de": 8, "ko": 7},
        seed=0,
    )
    assert set(items(more, "ko")) < set(items(more, "de")) < set(items(more, "en"))


def test_more_than_the_languages_share_is_an_error_with_the_numbers() -> None:
    whole = parallel(10)
    halves = (whole.frame["language"] == "ko") & whole.frame["item"].isin(["i1", "i2", "i3"])
    others = (whole.frame["language"] == "de") & whole.frame["item"].isin(["i4", "i5", "i6"])
    corpus = Corpus(whole.frame[~(halves | others)].reset_index(drop=True), whole.labels, "gaps")
    with pytest.raises(DataError) as caught:
        sample(corpus, split="train", languages=LANGUAGES, per_language=7, seed=0)
    assert "gaps, split train: 7 items asked, but only 4 are in all" in str(caught.value)
    assert "en 10, de 7, ko 7" in str(caught.value)


@pytest.mark.parametrize(
    ("per_language", "languages", "message"),
    [
        (11, LANGUAGES, "11 of en, 11 of de, 11 of ko asked, but there are en 10, de 10, ko 10"),
        ({"en": 5, "de": 50, "ko": 5}, LANGUAGES, "50 of de asked, but there are"),
        (0, ["en"], "0 rows asked of en, expected at least 1"),
        ({"en": 5}, ["en", "de"], "counts are given for en, expected one for each of en, de"),
        ({"en": 5, "fr": 5}, ["en"], "counts are given for en, fr, expected one for each of en"),
        (5, ["en", "fr"], "no train rows in fr; languages present: en, de, ko"),
        (5, ["english"], 'did you mean "en"'),
    ],
)
@pytest.mark.parametrize("is_parallel", [True, False])
def test_what_cannot_be_sampled_is_an_error(
    per_language, languages, message: str, is_parallel: bool
) -> None:
    corpus = parallel(10, order=0) if is_parallel else unrelated(10, 10, 10)
    # Which language comes first depends on the shuffled rows.
    message = message.replace(
        "languages present: en, de, ko", f"languages present: {', '.join(corpus.languages)}"
    )
    with pytest.raises(DataError) as caught:
        sample(corpus, split="train", languages=languages, per_language=per_language, seed=0)
    assert message in str(caught.value)


def test_data_without_items_is_drawn_language_by_language() -> None:
    corpus = unrelated(30, 4)
    drawn = sample(
        corpus, split="train", languages=["en", "de"], per_language={"en": 20, "de": 4}, seed=3
    )
    assert Counter(drawn.frame["language"]) == {"en": 20, "de": 4}
    assert drawn.frame["id"].is_unique
