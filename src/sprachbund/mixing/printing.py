"""The result of a sweep over mixes in the terminal, from the tables on disk."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from sprachbund.analysis.table import differs

_SHOWN = {
    "mixing_contributions": (
        "What each language adds: accuracy with all languages less that without it, percentage points",
        ["left_out"],
    ),
    "mixing_factors": (
        "Accuracy with so many times the examples of a language, less that of the study itself, percentage points",
        ["language", "factor"],
    ),
}


def print_mixing(console: Console, folder: Path) -> None:
    """What leaving out and scaling a language changes, and where the tables are."""
    for name, (title, rows) in _SHOWN.items():
        path = folder / f"{name}.parquet"
        if path.exists():
            console.print(f"\n[bold]{title}[/bold]; bold: it differs from 0, as a star in print")
            console.print(_matrix(pd.read_parquet(path), rows))
    console.print(f"Tables: {folder.resolve()}", soft_wrap=True)


def _matrix(frame: pd.DataFrame, rows: list[str]) -> Table:
    """One row for each value of `rows`, one column for each test language."""
    table = Table(*(name.replace("_", " ") for name in rows))
    for language in frame["test_language"].unique():
        table.add_column(str(language), justify="right")
    for names, group in frame.groupby(rows, sort=False):
        shown = [f"{name:g}x" if isinstance(name, float) else str(name) for name in names]
        table.add_row(*shown, *(_cell(row) for _, row in group.iterrows()))
    return table


def _cell(row: "pd.Series[Any]") -> str:
    text = f"{row['mean']:+.1f}"
    return f"[bold]{text}[/bold]" if differs(row) else text
