"""Tables on disk: whole or not there at all, in every format that they allow."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sprachbund.analysis.latex import latex
from sprachbund.analysis.table import Table
from sprachbund.writing import write_text, writing

CONTENTS = "contents.md"


def write_table(table: Table, folder: Path, study: str = "") -> list[Path]:
    """Write one table as CSV, as Parquet and, where it is for print, as LaTeX with the study's name in its label.

    The Parquet file holds the caption in its pandas metadata (`DataFrame.attrs`).

    Returns: the files. Raises: StudyError if the disk refuses.
    """
    frame = table.frame.copy(deep=False)
    frame.attrs = {"caption": table.caption}
    writers: dict[str, Callable[[Path], object]] = {
        "csv": partial(frame.to_csv, index=False, lineterminator="\n", encoding="utf-8"),
        "parquet": partial(frame.to_parquet, index=False),
    }
    if table.layout is not None:
        text = latex(table, table.layout, study)
        writers["tex"] = partial(Path.write_text, data=text, encoding="utf-8")
    paths = []
    for suffix, write in writers.items():
        paths.append(folder / f"{table.name}.{suffix}")
        with writing(paths[-1]) as partial_file:
            write(partial_file)
    return paths


def write_contents(tables: Sequence[Table], left_out: Sequence[str], folder: Path) -> Path:
    """Write what each table shows, and what is not there and why."""
    lines = [f"- `{table.name}`: {table.caption}" for table in tables]
    if left_out:
        lines += ["", "Not possible with this data:", "", *(f"- {line}" for line in left_out)]
    path = folder / CONTENTS
    write_text(path, "# Tables\n\n" + "\n".join(lines) + "\n")
    return path
