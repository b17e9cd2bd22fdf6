"""Sampling: so many rows of each language, the same items in all of them where the data is parallel.

What is drawn depends on the seed and the rows' content, never on their order in the files. Every prefix of the order of
drawing keeps the labels' proportions, so that a smaller sample of the same seed is part of a larger one.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Literal

import pandas as pd

from sprachbund.data.corpus import Corpus
from sprachbund.data.languages import normalise
from sprachbund.errors import DataError


def sample(
    corpus: Corpus,
    *,
    split: str,
    languages: Sequence[str],
    per_language: int | Mapping[str, int] | Literal["all"],
    seed: int,
) -> Corpus:
    """So many rows of each language of one split, or all, language by language in the order given.

    Where every row has an item, equal counts take the same items in every language, and unequal counts are nested: the
    items of a language with fewer rows are all among those of a language with more. Otherwise languages are drawn
    independently. Labels keep the proportions that they have among the rows (or shared items) to draw from, to within
    (1 + proportion x number of labels) / 2 rows: one row where labels are balanced.

    Raises: DataError if more is asked than there is (it says how much there is), or a language has no count.
    """
    wanted = list(dict.fromkeys(normalise(tag) for tag in languages))
    rows = corpus.select(split=split, languages=wanted).frame
    by_language = {language: rows[rows["language"] == language] for language in wanted}
    present = {language: len(of_it) for language, of_it in by_language.items()}
    # At least one is asked where there is none: that is an error, and not an empty language.
    every = {language: max(1, count) for language, count in present.items()}
    counts = every if per_language == "all" else _counts(wanted, per_language)
    _check_enough(f"{corpus.name}, split {split}", counts, present)
    if per_language != "all" and (rows["item"] != "").all():
        drawn = _draw_items(f"{corpus.name}, split {split}", by_language, counts, seed)
    else:
        drawn = {
            language: _draw_rows(by_language[language], counts[language], seed)
            for language in wanted
        }
    frame = pd.concat([drawn[language] for language in wanted], ignore_index=True)
    return Corpus(frame, corpus.labels, corpus.name)


def _counts(languages: Sequence[str], per_language: int | Mapping[str, int]) -> dict[str, int]:
    if isinstance(per_language, Mapping):
        given = {normalise(tag): count for tag, count in per_language.items()}
        if set(given) != set(languages):
            raise DataError(
                f"counts are given for {', '.join(given) or 'none'}, expected one for each of {', '.join(languages)}"
            )
    else:
        given = dict.fromkeys(languages, per_language)
    for language in languages:
        if given[language] < 1:
            raise DataError(f"{given[language]} rows asked of {language}, expected at least 1")
    return {language: given[language] for language in languages}


def _check_enough(place: str, counts: Mapping[str, int], present: Mapping[str, int]) -> None:
    short = [language for language in counts if counts[language] > present[language]]
    if short:
        asked = ", ".join(f"{counts[language]} of {language}" for language in short)
        raise DataError(
            f"{place}: {asked} asked, but there are {_by_language(present)}; ask for fewer"
        )


def _by_language(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{language} {number}" for language, number in numbers.items())


def _draw_items(
    place: str, by_language: Mapping[str, pd.DataFrame], counts: Mapping[str, int], seed: int
) -> dict[str, pd.DataFrame]:
    """Nested draws: tier by tier from the smallest count, each from the items of all languages that still need some."""
    label_of = _labels_of_items(by_language)
    items_of = {language: set(frame["item"]) for language, frame in by_language.items()}
    shared = set.intersection(*items_of.values())
    # Shared items first, so that a sample that can be the same in every language is.
    order = _order({item: label_of[item] for item in shared}, seed)
    order += _order({item: label for item, label in label_of.items() if item not in shared}, seed)
    chosen: list[str] = []
    drawn: dict[str, pd.DataFrame] = {}
    for count in sorted(set(counts.values())):
        pool = set.intersection(*(items_of[lang] for lang in counts if counts[lang] >= count))
        taken = set(chosen)
        chosen += [item for item in order if item in pool and item not in taken][
            : count - len(chosen)
        ]
        if len(chosen) < count:
            present = {language: len(items) for language, items in items_of.items()}
            raise DataError(
                f"{place}: {count} items asked, but only {len(pool)} are in all of the languages that need them; "
                f"items by language: {_by_language(present)}; ask for fewer"
            )
        for language in (language for language in counts if counts[language] == count):
            drawn[language] = by_language[language].set_index("item", drop=False).loc[chosen]
    return drawn


def _labels_of_items(by_language: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Each item's label; should languages disagree, that of the alphabetically first."""
    labels: dict[str, str] = {}
    for language in sorted(by_language, reverse=True):
        frame = by_language[language]
        labels.update(zip(frame["item"], frame["label"], strict=True))
    return labels


def _draw_rows(frame: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Rows of one language, keyed by content: equal rows are told apart by their ids only."""
    contents = frame["text"] + "\0" + frame["text_pair"] + "\0" + frame["label"]
    keyed = frame.assign(key=contents + "\0" + frame["id"]).set_index("key")
    ranked = _order(dict(zip(keyed.index, keyed["label"], strict=True)), seed, content=_without_id)
    return keyed.loc[ranked[:count]]


def _without_id(key: str) -> str:
    return key.rpartition("\0")[0]


def _order(
    label_of: Mapping[str, str], seed: int, content: Callable[[str], str] = str
) -> list[str]:
    """Keys in the order of drawing: shuffled within each label, labels interleaved in proportion to their numbers.

    The r-th of a label's n keys stands at (r + 1/2) / n, so that any prefix holds each label's share.
    """
    by_label: defaultdict[str, list[str]] = defaultdict(list)
    for key, label in label_of.items():
        by_label[label].append(key)
    placed: list[tuple[float, bytes, str]] = []
    for keys in by_label.values():
        ranked = sorted((_digest(content(key), seed), key) for key in keys)
        placed += [((r + 0.5) / len(keys), digest, key) for r, (digest, key) in enumerate(ranked)]
    return [key for _, _, key in sorted(placed)]


def _digest(text: str, seed: int) -> bytes:
    return blake2b(f"{seed}\0{text}".encode(), digest_size=16).digest()
