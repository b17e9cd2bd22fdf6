"""Every table that the results of a study allow, as CSV, Parquet and LaTeX."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from sprachbund.analysis.answers import Runs
from sprachbund.analysis.catalogue import Asked, sections
from sprachbund.analysis.files import write_contents, write_table
from sprachbund.analysis.listings import listings
from sprachbund.analysis.seeds import quiet_about_signs
from sprachbund.analysis.table import Table
from sprachbund.errors import InfluenceError, SprachbundWarning

# What is over chance or under it; other tables with the column are the same numbers by k or by checkpoint.
_SAYS_DISAGREEMENT = (
    *("share_proponents", "share_opponents", "mass_proponents", "mass_opponents"),
    *("mean_influence", "reinforcement", "translation_retrieval"),
)
_SUFFIXES = ("csv", "parquet", "tex")


def write_tables(
    influences: Runs,
    k: int,
    accuracy: pd.DataFrame | None,
    folder: Path,
    *,
    examples: int = 10,
    asked: Asked | None = None,
    study: str = "",
    on_notice: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write every table that the results allow into `folder`; return the files in reading order.

    `influences` is by seed; with several, deviations between seeds are tabled too. `accuracy`
    (fractions, of `n` examples) gets its limits, `examples` is how many proponents and opponents of each test example
    are listed, `asked` what else is known of the data, `study` a name for labels in LaTeX. What the data
    does not allow is left out, with one line to `on_notice` that says why; `contents.md` lists both.

    Raises: InfluenceError if k exceeds the training set; StudyError if the disk refuses.
    """
    if not influences:
        raise InfluenceError("there is no influence result to analyse")
    tables = listings(influences, k, accuracy, examples)
    left_out: list[str] = []
    for name, make in sections(influences, k, asked or Asked()).items():
        try:
            with quiet_about_signs(), warnings.catch_warnings():
                # `listings` has said it.
                warnings.filterwarnings("ignore", "k is .* of .* training", SprachbundWarning)
                tables += make()
        except InfluenceError as error:
            left_out.append(f"{name}: {error}")
    if on_notice is not None:
        for line in (*(f"table left out: {line}" for line in left_out), *_disagreements(tables)):
            on_notice(line)
    written = [path for table in tables for path in write_table(table, folder, study)]
    written.append(write_contents(tables, left_out, folder))
    _remove_stale(folder, written)
    return written


def _disagreements(tables: Sequence[Table]) -> list[str]:
    """A line that names the tables in which seeds disagree on which side of chance a number lies."""
    counted = []
    for table in tables:
        if table.name in _SAYS_DISAGREEMENT:
            cells = int((~table.frame["signs_agree"].astype(bool)).sum())
            if cells:
                counted.append(f"{table.name} ({cells:,} of {len(table.frame):,} cells)")
    if not counted:
        return []
    return [
        f"one seed lies above chance and another below (column signs_agree): {', '.join(counted)}"
    ]


def _remove_stale(folder: Path, written: Sequence[Path]) -> None:
    """Delete the tables of an earlier analysis that this one has no counterpart of."""
    for suffix in _SUFFIXES:
        for path in folder.glob(f"*.{suffix}"):
            if path not in written:
                path.unlink()
