"""The tables of a page: strings ready to be set, made from the frames of the analysis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import pandas as pd

from sprachbund.analysis.table import differs
from sprachbund.report.formatting import MISSING, NO_INTERVAL
from sprachbund.report.languages import language_label
from sprachbund.report.rows import Row, estimate_of, rows_of

Write = Callable[[Row], str]
NOTE = (
    f"{MISSING}: not known. An interval is missing where there are fewer than two independent test "
    "examples, or all have the same value and its unit has no bounds."
)


@dataclass(frozen=True)
class Table:
    """A caption, column names, and rows whose first cell names the row."""

    macro: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    footer: Sequence[str] = ()

    @property
    def note(self) -> str:
        """What a missing interval means, where one is missing."""
        return NOTE if any(NO_INTERVAL in cell for row in self.rows for cell in row) else ""


def estimated(digits: int = 1, unit: str = "%", name: str = "") -> Write:
    """Write the estimate of a row; see `estimate_of`."""
    return partial(estimate_of, digits=digits, unit=unit, name=name)


def marked_estimate(row: Row) -> str:
    """A difference in points with its interval; an asterisk where it differs from 0."""
    return estimate_of(row, unit="") + "*" * differs(row)


def matrix(
    caption: str,
    frame: pd.DataFrame,
    by: tuple[str, str],
    write: Write,
    names: tuple[Sequence[Any], Sequence[Any]],
    *,
    corner: str,
    label: tuple[Callable[[Any], str], Callable[[Any], str]] = (language_label, language_label),
    chance: Sequence[str] = (),
) -> Table:
    """A table with one cell for each pair of values of the two columns `by`.

    `names` are the values, in order; `label` says how each is shown. A pair that the frame lacks is
    a dash. `chance` is a row at the foot.
    """
    texts = {(row[by[0]], row[by[1]]): write(row) for row in rows_of(frame)}
    rows = [
        [label[0](first), *(texts.get((first, second), MISSING) for second in names[1])]
        for first in names[0]
    ]
    header = [corner, *(label[1](second) for second in names[1])]
    return Table(caption, header, rows, ["Chance", *chance] if chance else ())


def with_chance(table: Table, levels: Sequence[str]) -> Table:
    """The table with a last column: the chance level of each row, for a table whose rows differ in it."""
    rows = [[*row, level] for row, level in zip(table.rows, levels, strict=True)]
    return replace(table, header=[*table.header, "Chance"], rows=rows)
