"""How a report names and sets languages: "de German", and the direction of their text."""

from functools import cache

from sprachbund.data.languages import Direction, describe
from sprachbund.errors import DataError


@cache
def language_label(tag: str) -> str:
    """Tag and English name, "de German"; the tag alone where the language is not known."""
    try:
        name = describe(tag).name
    except DataError:
        return tag
    return f"{tag} {name}"


@cache
def text_direction(tag: str) -> Direction:
    """How a text in this language runs; left to right where the language is not known."""
    try:
        return describe(tag).direction
    except DataError:
        return "ltr"
