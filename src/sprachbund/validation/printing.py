"""What the removal check looks like in the terminal: one row for each k and criterion, and the verdicts."""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from sprachbund.analysis.labels import ALL
from sprachbund.validation.removal import VERDICTS


def print_removal(console: Console, folder: Path) -> None:
    """Mean drop of all test examples after each removal, and what influence removes more than each control."""
    drops = _of_all(folder / "removal_drops.parquet", "criterion")
    differences = _of_all(folder / "removal_differences.parquet", "control")
    table = Table()
    table.add_column("k", justify="right")
    table.add_column("removed by")
    for column in ("drop, points", "influence removes more by", "other class, %"):
        table.add_column(column, justify="right")
    for k, criterion in drops["predicted_drop"].index:
        key = (k, criterion)
        against = differences["predicted_drop"]
        more = _interval(against.loc[key]) if key in against.index else ""
        drop, flips = (drops[name].loc[key]["mean"] for name in ("predicted_drop", "flips"))
        table.add_row(str(k), criterion, f"{drop:.1f}", more, f"{flips:.1f}")
    console.print(
        "[bold]What removal does to the probability of the predicted class[/bold], all test examples"
    )
    console.print(table)
    for line in (folder / VERDICTS).read_text(encoding="utf-8").splitlines():
        if line.startswith("- "):
            console.print(line, soft_wrap=True, markup=False)
    console.print(f"Tables: {folder.resolve()}", soft_wrap=True)


def _of_all(path: Path, name: str) -> dict[str, pd.DataFrame]:
    """The rows of all test examples together, by measure, each by k and criterion."""
    frame = pd.read_parquet(path)
    frame = frame[frame["test_language"] == ALL].set_index(["k", name])
    return {str(measure): part for measure, part in frame.groupby("measure")}


def _interval(row: "pd.Series[float]") -> str:
    return f"{row['mean']:.1f} \\[{row['low']:.1f}, {row['high']:.1f}]"
