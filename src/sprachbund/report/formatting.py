"""How numbers read in a report: percentages, scores, counts and lists in words."""

import math
from collections.abc import Sequence

MISSING = "–"


def percent(value: float, digits: int = 1) -> str:
    """A percentage that is already one, "42.7%"; a dash where there is no value."""
    return MISSING if math.isnan(value) else f"{value:.{digits}f}%"


def fraction(value: float, digits: int = 1) -> str:
    """A fraction of 1 as a percentage, "42.7%"."""
    return percent(100 * value, digits)


def points(value: float) -> str:
    """A signed difference of percentages, "+3.2" or "−3.2"."""
    return MISSING if math.isnan(value) else f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def score(value: float) -> str:
    """An influence score to three significant digits."""
    return f"{value:#.3g}".rstrip(".").replace("-", "\N{MINUS SIGN}")


def number(value: float) -> str:
    """An epoch, or any number that is usually whole: "3", "0.5"."""
    return f"{value:g}"


def count(value: int, noun: str) -> str:
    """ "1 seed", "1,000 examples"."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def listing(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
