"""What an estimate says against chance, in words, with nulls said as such."""

import math

import pandas as pd

from sprachbund.analysis.table import FALSE_DISCOVERY_RATE, differs
from sprachbund.report.formatting import portion
from sprachbund.report.rows import rows_of


def against_chance(low: float, high: float, chance: float) -> str:
    """ "more than chance", "less than chance", or that the interval does not tell."""
    if math.isnan(low) or math.isnan(high):
        return "whether that differs from chance is not known, as there is no interval"
    if low > chance:
        return "that is above chance"
    if high < chance:
        return "that is below chance"
    return "the interval includes chance, so that no effect is shown"


def cells_that_differ(frame: pd.DataFrame, what: str = "language pair") -> str:
    """How many cells of a table differ from chance by their q values, above and below, and how many by interval too.

    The permutation test is of these runs and test examples; the interval is for others too. Chance is the mean of the
    permutations: where items that only one language has are exchanged among themselves it is not the language's part
    of the training data.
    """
    known = frame[frame["q_value"].notna()]
    if known.empty:
        return "The language pairs are not tested: no training examples could exchange their languages."
    found = that_differ(known)
    above = int((found["mean"] > found["null_mean"]).sum())
    sides = f": {above:,} above, {len(found) - above:,} below" * (not found.empty)
    certain = (found["low"] > found["null_mean"]) | (found["high"] < found["null_mean"])
    rest = f"; the interval excludes chance in {int(certain.sum()):,} of them" * (not found.empty)
    split = int((known["q_value"] <= FALSE_DISCOVERY_RATE).sum()) - len(found)
    rest += f"; {split:,} more not counted, as seeds disagree in sign" * (split > 0)
    return (
        f"By a permutation test {portion(len(found), len(known), what)} "
        f"{'differs' if len(found) < 2 else 'differ'} from chance at a false discovery rate of "
        f"{100 * FALSE_DISCOVERY_RATE:.0f}% (Benjamini-Hochberg){sides}{rest}."
    )


def that_differ(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that differ from chance."""
    return frame[[differs(row) for row in rows_of(frame)]]


def after_correction(frame: pd.DataFrame, what: str) -> str:
    """In how many of the rows an effect is shown, once corrected for their number."""
    found = portion(len(that_differ(frame)), len(frame), what)
    return f" At a false discovery rate of {100 * FALSE_DISCOVERY_RATE:.0f}% an effect is shown in {found}."


def excludes(frame: pd.DataFrame, level: float = 0.0) -> "pd.Series[bool]":
    """Whether the interval of each row lies wholly above or below a level; not where it is not known."""
    return (frame["low"] > level) | (frame["high"] < level)


def in_how_many(frame: pd.DataFrame, what: str, level: float = 0.0) -> str:
    """ "3 of the 20 cells (2 above, 1 below)": the rows whose interval excludes the level."""
    found = frame[excludes(frame, level)]
    above = int((found["low"] > level).sum())
    sides = f" ({above:,} above, {len(found) - above:,} below)" * (not found.empty)
    return f"{portion(len(found), len(frame), what)}{sides}"
