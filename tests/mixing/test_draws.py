"""Mixes are nested: what a smaller one has of a language, a larger one has too, whatever the others are."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprachbund.analysis.mixes import Mix
from sprachbund.data import Corpus, sample
from sprachbund.mixing.draws import rank, take

LANGUAGES = ("en", "de", "ko")


def corpus(kind: str, n: int = 40) -> Corpus:
    """Parallel rows, parallel ones with gaps (each language lacks another quarter), or rows without items."""
    rows = [
        {
            "language": language,
            "item": "" if kind == "unrelated" else f"i{i}",
            "text": f"{language} {i}",
            "label": "ab"[i % 2],
            "split": "train",
        }
        for position, language in enumerate(LANGUAGES)
        for i in range(n)
        if kind != "gaps" or i % 4 != position
    ]
    random.Random(0).shuffle(rows)
    return Corpus.from_rows(rows, name=kind)


CORPORA = {kind: corpus(kind) for kind in ("parallel", "gaps", "unrelated")}
KINDS = st.sampled_from(sorted(CORPORA))


def train_of(rows: Corpus, counts: dict[str, int], seed: int) -> Corpus:
    return sample(rows, split="train", languages=LANGUAGES, per_language=counts, seed=seed)


def ids(found: Corpus, language: str) -> list[str]:
    return found.frame.loc[found.frame["language"] == language, "id"].tolist()


@settings(max_examples=20, deadline=None)
@given(kind=KINDS, seed=st.integers(0, 99), n=st.integers(2, 7), language=st.sampled_from(LANGUAGES))  # fmt: skip
def test_half_is_within_the_study_and_the_study_within_twice_and_four_times(
    kind, seed, n, language
):
    whole = CORPORA[kind]
    counts = dict.fromkeys(LANGUAGES, n)
    train = train_of(whole, counts, seed)
    sizes = (n // 2, n, 2 * n, 4 * n)
    mixes = [Mix(f"x{size}", {**counts, language: size}) for size in sizes if size]
    ranking = rank(whole, train, mixes, seed)
    found = [take(ranking, mix, train) for mix in mixes]
    for mix, drawn in zip(mixes, found, strict=True):
        assert {tag: len(ids(drawn, tag)) for tag in LANGUAGES} == mix.counts
        assert all(ids(drawn, tag) == ids(train, tag) for tag in LANGUAGES if tag != language)
        assert drawn.frame["id"].is_unique
    for smaller, larger in pairwise(found):
        assert set(ids(smaller, language)) < set(ids(larger, language))


@pytest.mark.parametrize("kind", CORPORA)
def test_leaving_a_language_out_leaves_the_examples_of_the_others(kind):
    """A draw of two languages alone would take other items than the study did, where the data has gaps."""
    whole, counts = CORPORA[kind], dict.fromkeys(LANGUAGES, 8)
    train = train_of(whole, counts, 3)
    mix = Mix("without-ko", {"en": 8, "de": 8})
    drawn = take(rank(whole, train, [mix], 3), mix, train)
    assert drawn.languages == ("en", "de")
    for language in drawn.languages:
        assert ids(drawn, language) == ids(train, language)
    alone = sample(whole, split="train", languages=["en", "de"], per_language=8, seed=3)
    same = all(set(ids(alone, tag)) == set(ids(train, tag)) for tag in ("en", "de"))
    assert same == (kind != "gaps"), "only where there are gaps does sampling alone not do"


def test_the_mix_of_the_study_is_its_training_set():
    counts = {"en": 9, "de": 3, "ko": 5}
    train = train_of(CORPORA["gaps"], counts, 1)
    study = Mix("study", counts)
    drawn = take(rank(CORPORA["gaps"], train, [study], 1), study, train)
    assert drawn.fingerprint() == train.fingerprint()


def test_parallel_data_gives_what_a_study_of_those_counts_would_draw():
    counts = dict.fromkeys(LANGUAGES, 6)
    train = train_of(CORPORA["parallel"], counts, 5)
    mix = Mix("de-x4", {**counts, "de": 24})
    drawn = take(rank(CORPORA["parallel"], train, [mix], 5), mix, train)
    assert drawn.fingerprint() == train_of(CORPORA["parallel"], dict(mix.counts), 5).fingerprint()
