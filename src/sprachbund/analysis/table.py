"""A table of a study: a tidy frame for reading by machine, and how it is set in print."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import xarray as xr

MISSING = "--"  # LaTeX's en dash
FALSE_DISCOVERY_RATE = 0.05


def differs(row: "Mapping[str, Any] | pd.Series[Any]", q_value: str = "q_value") -> bool:
    """Whether a row differs from chance: q at most 0.05, and seeds agree on the side. What has no q is not tested.

    `q_value` names the column. Whether seeds agree is in `signs_agree`, by its side: `change_signs_agree` beside
    `change_q_value`. Without that column, or with one seed, there is nothing to disagree.
    """
    agree = row.get(q_value.replace("q_value", "signs_agree"), True)
    return bool(row.get(q_value, math.nan) <= FALSE_DISCOVERY_RATE and agree)


@dataclass(frozen=True)
class Cell:
    """A number in print: the column of its value, those of its interval, and that of its q value where it has one."""

    value: str
    low: str = ""
    high: str = ""
    digits: int = 1
    q_value: str = ""

    def text(self, row: "pd.Series[Any]") -> str:
        """ "12.3", or "12.3* [10.1, 14.5]", starred where it `differs`; a dash for what is not known."""
        shown = _number(row[self.value], self.digits)
        if self.q_value and differs(row, self.q_value):
            shown += "*"
        if not self.low:
            return shown
        low, high = (_number(row[column], self.digits) for column in (self.low, self.high))
        return shown if low == high == MISSING else f"{shown} [{low}, {high}]"


@dataclass(frozen=True)
class Layout:
    """A table in print: the columns that name a row, then one column for each cell.

    With `across`, there is one cell for each value of that column instead, and `cells` has one
    entry. `chance` is a column of chance levels, by value of `across`, for a row at the foot; with
    `chance_by`, the first of `rows`, there is such a row below each of its values.
    """

    rows: Sequence[str]
    cells: Mapping[str, Cell]
    across: str = ""
    chance: str = ""
    chance_by: str = ""


@dataclass(frozen=True)
class Table:
    """A frame with one observation a row, what it shows, and its layout in print.

    `layout` is None for a table of texts, which is not for print.
    """

    name: str
    caption: str
    frame: pd.DataFrame = field(repr=False)
    layout: Layout | None = None


def printed(table: Table, layout: Layout) -> pd.DataFrame:
    """The table as it is set: strings, with the columns of the layout."""
    frame, rows = table.frame, list(layout.rows)
    names = frame[rows].map(_label)
    if not layout.across:
        cells = {
            name: [cell.text(row) for _, row in frame.iterrows()]
            for name, cell in layout.cells.items()
        }
        return names.assign(**cells).reset_index(drop=True)
    (cell,) = layout.cells.values()
    order = list(dict.fromkeys(frame[layout.across]))
    texts = names.assign(
        across=frame[layout.across], text=[cell.text(r) for _, r in frame.iterrows()]
    )
    wide = texts.pivot(index=rows, columns="across", values="text").fillna(MISSING)
    first = names.drop_duplicates()
    wide = first.merge(wide.reset_index(), on=rows, how="left")[[*rows, *order]]
    wide.columns.name = None
    if not layout.chance:
        return wide
    wide = wide.astype(object)  # a column of numbers, such as k, takes no "chance"
    if not layout.chance_by:
        return _with_chance(wide, frame, layout)
    parts = [
        _with_chance(part, frame[frame[layout.chance_by].map(_label) == name], layout)
        for name, part in wide.groupby(layout.chance_by, sort=False)
    ]
    return pd.concat(parts, ignore_index=True)


def tidy(found: xr.Dataset, first: Sequence[str], last: Sequence[str]) -> pd.DataFrame:
    """A dataset as one row for each cell, in the order of its dims `first`, with these columns.

    What `last` names and the dataset lacks is left out.
    """
    present = [name for name in last if name in found.variables]
    return found.to_dataframe(dim_order=list(first)).reset_index()[[*first, *present]]


def spread_of(values: Sequence[float], digits: int = 0) -> str:
    """ "25", or "18 to 25" where they differ."""
    least, most = (f"{value:,.{digits}f}" for value in (min(values), max(values)))
    return least if least == most else f"{least} to {most}"


def _with_chance(wide: pd.DataFrame, frame: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Rows as they are set, and below them the chance levels that `frame` has for them."""
    (cell,) = layout.cells.values()
    levels = frame.drop_duplicates(layout.across).set_index(layout.across)[layout.chance]
    names = [wide[layout.chance_by].iloc[0]] if layout.chance_by else []
    names += ["chance", *[""] * (len(layout.rows) - len(names) - 1)]
    order = wide.columns[len(layout.rows) :]
    shown = [_number(levels.get(name, math.nan), cell.digits) for name in order]
    foot = pd.DataFrame([[*names, *shown]], columns=wide.columns, dtype=object)
    return pd.concat([wide, foot], ignore_index=True)


def _number(value: object, digits: int) -> str:
    number = float(value)  # type: ignore[arg-type]
    if math.isnan(number):
        return MISSING
    if math.isinf(number):
        return r"$\infty$" if number > 0 else r"$-\infty$"
    shown = f"{number:.{digits}f}"
    if float(shown) == 0:
        shown = shown.lstrip("-")
    return shown.replace("-", "$-$")


def _label(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
