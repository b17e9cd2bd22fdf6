"""The tables of an analysis as a report reads them: one frame each by name, and why some are missing."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from sprachbund.analysis.answers import Runs
from sprachbund.analysis.catalogue import Asked, sections
from sprachbund.analysis.files import CONTENTS
from sprachbund.analysis.seeds import quiet_about_signs
from sprachbund.errors import InfluenceError, SprachbundWarning

_TABLE, _REASON = "- `", "- "  # how `contents.md` lists what is there, and what is not


@dataclass(frozen=True)
class Results:
    """Tables by name (docs/analysis.md), and by question the reason why there is no answer."""

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


class StoredTables(Mapping[str, pd.DataFrame]):
    """The tables in folders as Parquet, each read when it is asked for."""

    def __init__(self, folders: Sequence[Path]) -> None:
        paths = [path for folder in folders for path in sorted(folder.glob("*.parquet"))]
        self._paths = {path.stem: path for path in paths}

    def __getitem__(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self._paths[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def read_results(*folders: Path) -> Results:
    """What `write_tables`, and further analyses, have written; a folder need not be there."""
    contents = [folder / CONTENTS for folder in folders if (folder / CONTENTS).exists()]
    lines = [line for path in contents for line in path.read_text(encoding="utf-8").splitlines()]
    reasons = [
        line.removeprefix(_REASON)
        for line in lines
        if line.startswith(_REASON) and not line.startswith(_TABLE) and ": " in line
    ]
    return Results(StoredTables(folders), dict(reason.split(": ", 1) for reason in reasons))


def computed_results(runs: Runs, k: int) -> Results:
    """The same, computed from the influence results alone: without distances between languages."""
    tables: dict[str, pd.DataFrame] = {}
    left_out: dict[str, str] = {}
    for name, make in sections(runs, k, Asked()).items():
        try:
            with quiet_about_signs(), quiet_about_k():
                tables |= {table.name: table.frame for table in make()}
        except InfluenceError as error:
            left_out[name] = str(error)
    return Results(tables, left_out)


@contextmanager
def quiet_about_k() -> Iterator[None]:
    """Without the warning of a large k, where the study's own has been judged already."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "k is .* of .* training", SprachbundWarning)
        yield
