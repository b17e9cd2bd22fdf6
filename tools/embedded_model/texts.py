"""The text that the student learns from: no name of a test emoji, and no label, is in it.

Names of the training emoji, the keywords of Unicode CLDR's annotations of other characters, and the vocabulary itself.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from sprachbund.embedded.emoji import LANGUAGES, emoji_frame

FOLDERS = ("annotations", "annotationsDerived")
INHERITED = "↑↑↑"
VARIATION_OR_TONE = re.compile("[\ufe0f\U0001f3fb-\U0001f3ff]")
NAME, KEYWORD, PIECE = "name", "keyword", "piece"


def distillation_texts(cldr: Path, pieces: Iterable[str]) -> pd.DataFrame:
    """Columns kind (name, keyword, piece), language ("" for a piece), text, and emoji: a tuple of what it names."""
    frame = emoji_frame()
    test = frame[frame["split"] == "test"]
    names = frame.loc[frame["split"] == "train", ["language", "text"]].assign(kind=NAME)
    names["emoji"] = [(emoji,) for emoji in frame.loc[frame["split"] == "train", "item"]]
    keywords = _keywords(cldr, {_plain(emoji) for emoji in test["item"]})
    keywords = keywords[~keywords["text"].str.lower().isin(set(test["text"].str.lower()))]
    words = sorted({word for piece in pieces if (word := piece.replace("▁", " ").strip())})
    rows = [
        names,
        keywords.assign(kind=KEYWORD),
        pd.DataFrame({"kind": PIECE, "language": "", "text": words, "emoji": [()] * len(words)}),
    ]
    return pd.concat(rows, ignore_index=True)


def _keywords(cldr: Path, left_out: set[str]) -> pd.DataFrame:
    """Keywords and short names with the emoji and signs that they stand for, except those of `left_out`."""
    stands_for: dict[tuple[str, str], set[str]] = {}
    for language in LANGUAGES:
        for folder in FOLDERS:
            for emoji, word in _annotations(cldr / folder / f"{language}.xml"):
                if emoji not in left_out:
                    stands_for.setdefault((language, word), set()).add(emoji)
    rows = [(*key, tuple(sorted(emoji))) for key, emoji in sorted(stands_for.items())]
    return pd.DataFrame(rows, columns=["language", "text", "emoji"])


def _annotations(path: Path) -> Iterator[tuple[str, str]]:
    """(emoji, word); a derived name ("hand: dark skin tone") only repeats others, so it is left out."""
    for annotation in ElementTree.parse(path).iter("annotation"):
        for word in (annotation.text or "").split("|"):
            if (word := word.strip()) and word != INHERITED and not re.search("[:：]", word):
                yield _plain(annotation.get("cp", "")), word


def _plain(emoji: str) -> str:
    return VARIATION_OR_TONE.sub("", emoji)
