"""The text that the student learns from: no name of a test emoji, and no label, is in it.

Names of the training emoji, the keywords of Unicode CLDR's annotations of other characters, and the vocabulary itself.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from sprachbund.embedded.emoji import LANGUAGES, emoji_frame

FOLDERS = ("annotations", "annotationsDerived")
INHERITED = "↑↑↑"
PIECES = "piece"


def distillation_texts(cldr: Path, pieces: Iterable[str]) -> pd.DataFrame:
    """Columns language ("piece" for a vocabulary piece), text, item ("" except for names of emoji)."""
    frame = emoji_frame()
    test = frame[frame["split"] == "test"]
    names = frame.loc[frame["split"] == "train", ["language", "text", "item"]]
    keywords = pd.DataFrame(
        sorted(_keywords(cldr, {_plain(emoji) for emoji in test["item"]})),
        columns=["language", "text"],
    )
    keywords = keywords[~keywords["text"].str.lower().isin(set(test["text"].str.lower()))]
    words = sorted({word for piece in pieces if (word := piece.replace("▁", " ").strip())})
    rows = [
        names,
        keywords.assign(item=""),
        pd.DataFrame({"language": PIECES, "text": words, "item": ""}),
    ]
    return pd.concat(rows, ignore_index=True)


def _keywords(cldr: Path, left_out: set[str]) -> set[tuple[str, str]]:
    """(language, keyword or short name); derived names ("hand: dark skin tone") repeat others, so they go."""
    found: set[tuple[str, str]] = set()
    for language in LANGUAGES:
        for folder in FOLDERS:
            for annotation in ElementTree.parse(cldr / folder / f"{language}.xml").iter(
                "annotation"
            ):
                if _plain(annotation.get("cp", "")) in left_out:
                    continue
                words = (word.strip() for word in (annotation.text or "").split("|"))
                found.update(
                    (language, word)
                    for word in words
                    if word and word != INHERITED and ":" not in word and "：" not in word
                )
    return found


def _plain(emoji: str) -> str:
    return emoji.replace("\ufe0f", "")
