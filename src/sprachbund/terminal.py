"""What a study looks like in the terminal: stages, progress bars, warnings, and the sharing matrix."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

import xarray as xr
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from sprachbund.analysis.seeds import over_seeds
from sprachbund.analysis.sharing import language_share
from sprachbund.influence import Influence

if TYPE_CHECKING:
    from sprachbund.planning import Plan, StagePlan

_STAGE = {
    "data": "Sampling the data",
    "finetune": "Fine-tuning on all languages together",
    "evaluate": "Measuring the accuracy of the runs",
    "attribute": "Attributing predictions to training examples",
    "index": "Compressing the gradients of the training examples",
    "mix": "Fine-tuning on other mixes of languages",
    "decompose": "Taking influence apart",
    "removal": "Retraining without what predictions rest on",
    "analyse": "Analysing",
    "report": "Writing the report",
}


class TerminalObserver:
    """Draws stages and progress bars; use it as a context."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._bars = Progress(
            TextColumn("  {task.description:28}"),
            BarColumn(bar_width=28),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._tasks:
            self._bars.stop()

    def stage(self, name: str, *, fresh: bool) -> None:
        state = " [dim](nothing has changed: skipped)[/dim]" if fresh else ""
        self._console.print(f"[bold]{_STAGE[name]}[/bold]{state}")

    def say(self, text: str) -> None:
        self._console.print(f"[dim]{text}[/dim]")

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        self._bars.start()  # only now, or a mistake found before would leave an empty line
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(task, total=total, note=note)
        self._bars.update(self._tasks[task], completed=done, total=total, note=note)


@contextlib.contextmanager
def warnings_on(console: Console) -> Iterator[None]:
    """Print each warning once, as one line, without its place in the code."""
    seen: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,  # noqa: ARG001
        lineno: int,  # noqa: ARG001
        file: TextIO | None = None,  # noqa: ARG001
        line: str | None = None,  # noqa: ARG001
    ) -> None:
        text = str(message)
        if category.__module__.startswith("sprachbund") and text not in seen:
            seen.add(text)
            console.print(Text.assemble(("warning: ", "yellow"), one_line(text)))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        yield


def sharing_table(share: xr.DataArray, expected: xr.DataArray) -> Table:
    """The sharing matrix, rows test languages; shares above what chance gives are bold."""
    table = Table()
    table.add_column("test language")
    train = [str(tag) for tag in share["train_language"].values]
    for tag in train:
        table.add_column(tag, justify="right")
    for test in share["test_language"].values:
        name = str(test) + ("" if test in train else " (zero-shot)")
        cells = [_cell(share, expected, test, tag) for tag in train]
        table.add_row(name, *cells)
    chance = [f"{float(expected.sel(train_language=tag)):.1f}" for tag in train]
    table.add_section()
    table.add_row("[dim]by chance[/dim]", *(f"[dim]{value}[/dim]" for value in chance))
    return table


def _cell(share: xr.DataArray, expected: xr.DataArray, test: object, train: str) -> str:
    value = float(share.sel(test_language=test, train_language=train))
    above = value > float(expected.sel(train_language=train))
    return f"[bold]{value:.1f}[/bold]" if above else f"{value:.1f}"


def print_sharing(console: Console, influences: Mapping[int, Influence], k: int) -> None:
    """The sharing matrix of proponents, averaged over seeds."""
    shares = {seed: language_share(influence, k) for seed, influence in influences.items()}
    combined = over_seeds(shares)
    seeds = f", mean of {len(shares)} seeds" if len(shares) > 1 else ""
    console.print(
        f"[bold]Whose examples each test language relies on:[/bold] % of its top {k} proponents by training "
        f"language{seeds}; bold: above the level of chance (what differs from it by test has a star in the tables)"
    )
    console.print(sharing_table(combined["mean"], combined["expected_percent"]))


def print_plan(console: Console, plan: "Plan", folder: Path) -> None:
    """The stages with their costs."""
    table = Table()
    for column in ("stage", "what"):
        table.add_column(column)
    table.add_column("time", justify="right")
    table.add_column("disk", justify="right")
    for stage in plan.stages:
        table.add_row(stage.name, stage.what, _time(stage), _nbytes(stage.disk_nbytes))
    table.add_section()
    total = sum(stage.seconds or 0.0 for stage in plan.stages if not stage.is_done)
    disk = sum(stage.disk_nbytes for stage in plan.stages)
    table.add_row("all", "", _seconds(total), _nbytes(disk))
    table.add_section()
    for stage in plan.further:
        table.add_row(stage.name, stage.what, _time(stage), "")
    console.print(f"[bold]Study in {folder}[/bold]")
    console.print(table)
    console.print(
        f"{plan.coverage}. At most {_nbytes(plan.memory_nbytes)} of memory for weights, optimizer and test "
        "gradients. Times are measured on a few batches on this machine. What stands below “all” are "
        "commands of their own."
    )


def one_line(message: str) -> str:
    """A message without line breaks, and without what a terminal cannot show (odd file names)."""
    return " ".join(message.split()).encode(errors="backslashreplace").decode()


def _time(stage: "StagePlan") -> str:
    if stage.is_done:
        return "done"
    return "" if stage.seconds is None else _seconds(stage.seconds)


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return "seconds"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"


def _nbytes(nbytes: int) -> str:
    if nbytes == 0:
        return ""
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:.1f} MiB"
