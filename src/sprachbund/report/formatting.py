"""How numbers read in a report: percentages, intervals, scores, counts and lists in words."""

import math
from collections.abc import Sequence

MISSING = "–"
NO_INTERVAL = f"[{MISSING}]"
_SMALLEST_P = 0.001


def percent(value: float, digits: int = 1) -> str:
    """A percentage that is already one, "42.7%"; a dash where there is no value."""
    return MISSING if math.isnan(value) else f"{decimal(value, digits)}%"


def fraction(value: float, digits: int = 1) -> str:
    """A fraction of 1 as a percentage, "42.7%"."""
    return percent(100 * value, digits)


def points(value: float) -> str:
    """A signed difference of percentages, "+3.2" or "−3.2"."""
    return MISSING if math.isnan(value) else f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def decimal(value: float, digits: int = 2) -> str:
    """ "1.25", "−0.30", "∞"; a dash where there is no value."""
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "\N{MINUS SIGN}∞"
    shown = f"{value:.{digits}f}"
    if float(shown) == 0:
        shown = shown.lstrip("-")
    return shown.replace("-", "\N{MINUS SIGN}")


def estimate(value: float, low: float, high: float, digits: int = 1, unit: str = "%") -> str:
    """A value with its interval, "34.2% [30.1, 38.5]"; "[–]" where the interval is not known."""
    if math.isnan(value):
        return MISSING
    shown = f"{decimal(value, digits)}{unit}"
    if math.isnan(low) and math.isnan(high):
        return f"{shown} {NO_INTERVAL}"
    return f"{shown} [{decimal(low, digits)}, {decimal(high, digits)}]"


def probability(value: float) -> str:
    """A p or q value, "0.032"; "< 0.001" where it is smaller; a dash where there is none."""
    return f"< {_SMALLEST_P}" if value < _SMALLEST_P else decimal(value, 3)


def named_probability(name: str, value: float) -> str:
    """ "q = 0.032", "q < 0.001"."""
    shown = probability(value)
    return f"{name} {shown}" if shown.startswith("<") else f"{name} = {shown}"


def score(value: float) -> str:
    """An influence score to three significant digits; a dash where there is no value."""
    if math.isnan(value):
        return MISSING
    return f"{value:#.3g}".rstrip(".").replace("-", "\N{MINUS SIGN}")


def score_estimate(value: float, low: float, high: float) -> str:
    """A score with its interval, "0.0312 [0.0210, 0.0414]"; a dash where there is no value."""
    if math.isnan(value):
        return MISSING
    limits = (
        NO_INTERVAL if math.isnan(low) and math.isnan(high) else f"[{score(low)}, {score(high)}]"
    )
    return f"{score(value)} {limits}"


def number(value: float) -> str:
    """An epoch, or any number that is usually whole: "3", "0.5"."""
    return f"{value:g}"


def count(value: int, noun: str) -> str:
    """ "1 seed", "1,000 examples"."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def spaced(name: str) -> str:
    """The name of a column or a property as words."""
    return name.replace("_", " ")


def portion(found: int, total: int, noun: str) -> str:
    """ "all 4 pairs", "3 of the 4 pairs", "none of the 4 pairs", "1 of 1 pair"."""
    if total == 1:
        return f"{found} of 1 {noun}"
    if found == total:
        return f"all {count(total, noun)}"
    return f"{f'{found:,}' if found else 'none'} of the {count(total, noun)}"


def listing(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
