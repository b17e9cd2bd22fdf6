"""Rows of the analysis's tables as plain mappings, which is how sentences and cells read them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sprachbund.report.formatting import estimate

Row = Mapping[str, Any]


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows in order, by the names of the columns."""
    return [dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False)]


def highest(frame: pd.DataFrame, values: "pd.Series[float]") -> Row:
    """The row with the highest of `values`, which are in the order of the frame."""
    return rows_of(frame)[int(np.nanargmax(values.to_numpy(dtype=float)))]


def estimate_of(row: Row, digits: int = 1, unit: str = "%", name: str = "") -> str:
    """The columns mean, low and high, or `name`, `name`_low and `name`_high, as one estimate."""
    columns = (name, f"{name}_low", f"{name}_high") if name else ("mean", "low", "high")
    value, low, high = (float(row[column]) for column in columns)
    return estimate(value, low, high, digits, unit)


def estimates_of(frame: pd.DataFrame, digits: int = 1, unit: str = "%") -> list[str]:
    """The estimate of each row."""
    return [estimate_of(row, digits, unit) for row in rows_of(frame)]


def span_of(
    frame: pd.DataFrame, name: Callable[[Row], str], digits: int = 1, unit: str = "%"
) -> str:
    """The least and the greatest estimate, "from 1.2 [0.9, 1.5] (de German) to 2.1 [1.8, 2.4] (en English)"."""
    ends = [highest(frame, sign * frame["mean"]) for sign in (-1, 1)]
    shown = [f"{estimate_of(row, digits, unit)} ({name(row)})" for row in ends]
    return f"from {shown[0]} to {shown[1]}" if len(frame) > 1 else shown[0]
