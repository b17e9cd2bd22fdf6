"""The embedded corpus: names of emoji in 14 languages, to be sorted into Unicode's groups.

The names were written by people for Unicode CLDR and come from the package `emoji`; the group, the family of
near-identical emoji and the fixed split come from a table in this package (assets/emoji_groups.tsv).
"""

import warnings
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from io import StringIO

import emoji as emoji_names
import pandas as pd

from sprachbund.data.corpus import Corpus
from sprachbund.errors import DataError, SprachbundWarning

LANGUAGES = ("ar", "de", "en", "es", "fa", "fr", "id", "it", "ja", "ko", "pt", "ru", "tr", "zh")
MISSING_SHOWN = 5


def emoji_corpus(languages: Sequence[str] = LANGUAGES) -> Corpus:
    """Names of about 1,600 emoji in each language, strictly parallel, labelled with 9 Unicode groups.

    `item` is the emoji and `group` its family (a man, a woman and a person juggling are one family), which never
    straddles the fixed split of about 1,000 training and 600 test items. Flags are left out (their names are those of
    countries), and so are skin tones. An emoji that the installed version of `emoji` does not name is left out
    with a warning; the split of the others does not change.

    Raises: DataError for a language that the package `emoji` does not carry.
    """
    frame = emoji_frame(languages)
    return Corpus(frame=frame, labels=emoji_groups(), name="emoji")


def emoji_groups() -> tuple[str, ...]:
    """The label names, in Unicode's order."""
    return tuple(_groups()["group"].unique())


def emoji_frame(languages: Sequence[str] = LANGUAGES) -> pd.DataFrame:
    """The rows of `emoji_corpus`: the columns of a corpus, training items first, language by language."""
    _check(languages)
    table = _groups()
    # Numbered before any is left out, so that an id means the same with every version of `emoji`.
    table = _named(table.assign(number=table.groupby("split").cumcount()), languages)
    frames = [
        pd.DataFrame(
            {
                "id": [
                    f"{split}-{language}-{number:04d}"
                    for split, number in zip(rows["split"], rows["number"], strict=True)
                ],
                "language": language,
                "item": rows["emoji"],
                "group": rows["family"],
                "text": [_name(emoji, language) for emoji in rows["emoji"]],
                "text_pair": "",
                "label": rows["group"],
                "split": rows["split"],
            }
        )
        for _, rows in table.groupby("split", sort=False)
        for language in languages
    ]
    return pd.concat(frames, ignore_index=True).astype(str)


@cache
def _groups() -> pd.DataFrame:
    """Columns emoji, group, family, split; one row for each emoji, in Unicode's order."""
    text = (files(__package__) / "assets" / "emoji_groups.tsv").read_text(encoding="utf-8")
    rows = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("# "))
    return pd.read_csv(StringIO(rows), sep="\t", dtype=str, keep_default_na=False, quoting=3)


def _named(table: pd.DataFrame, languages: Sequence[str]) -> pd.DataFrame:
    """The rows that have a name in every one of the languages."""
    for language in languages:
        emoji_names.config.load_language(language)
    named = [all(_name(emoji, language) for language in languages) for emoji in table["emoji"]]
    missing = [emoji for emoji, found in zip(table["emoji"], named, strict=True) if not found]
    if missing:
        shown = " ".join(missing[:MISSING_SHOWN]) + (" ..." if len(missing) > MISSING_SHOWN else "")
        warnings.warn(
            f"embedded corpus: the installed emoji {emoji_names.__version__} has no name for {len(missing)} of "
            f"{len(table)} emoji in {', '.join(languages)} ({shown}); they are left out in every language",
            SprachbundWarning,
            stacklevel=4,
        )
    return table[named]


def _name(emoji: str, language: str) -> str:
    """ ":grinning_face:" -> "grinning face"; "" where the package has no name."""
    name: str = emoji_names.EMOJI_DATA.get(emoji, {}).get(language, "")
    return " ".join(name.strip(":").replace("_", " ").split())


def _check(languages: Sequence[str]) -> None:
    unknown = [language for language in languages if language not in LANGUAGES]
    if unknown:
        raise DataError(
            f"embedded corpus: no language {', '.join(map(repr, unknown))}; it has {', '.join(LANGUAGES)}"
        )
    if not languages or len(set(languages)) != len(languages):
        raise DataError(
            f"embedded corpus: languages must be one or more, each once; found {list(languages)}"
        )
