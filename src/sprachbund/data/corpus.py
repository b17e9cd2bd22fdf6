"""Corpus: rows of labelled text in several languages, validated once and then trusted.

Rows come in through `Corpus.from_rows`; a corpus is stored as JSONL beside a small file of its labels.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sprachbund.data.languages import normalise
from sprachbund.data.validation import COLUMNS, SPLITS, Origin, validate
from sprachbund.errors import DataError
from sprachbund.writing import write_text


@dataclass(frozen=True, eq=False)
class Corpus:
    """Rows of labelled text in several languages.

    `frame` has the columns id, language, item, group, text, text_pair, label, split, all str ("" where absent) and a
    RangeIndex. `labels` are the label names in class-index order.

    Raises: DataError if a row is unusable (see `validation`).
    """

    frame: pd.DataFrame
    labels: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        if tuple(self.frame.columns) != COLUMNS:
            raise DataError(
                f"{self.name}: columns are {list(self.frame.columns)}, expected {list(COLUMNS)}"
            )
        if not self.frame.index.equals(pd.RangeIndex(len(self.frame))):
            raise DataError(
                f"{self.name}: rows are not numbered 0, 1, ...; call reset_index(drop=True)"
            )
        origins = [Origin(self.name, row) for row in range(1, len(self.frame) + 1)]
        _check_strings(self.frame, origins)
        validate(self.frame, self.labels, origins)

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Mapping[str, Any]],
        *,
        labels: Sequence[str] | None = None,
        name: str = "corpus",
        origins: Sequence[Origin] | None = None,
    ) -> "Corpus":
        """Build a corpus from mappings of field to value; language, text, label and split are needed.

        Languages are normalised, integers become strings, and missing ids are made from split, language and item (or
        the row's number within its split and language). `labels` are by default the labels that occur, sorted.
        `origins` says for error messages where each row was read.

        Raises: DataError naming the row's origin and the field.
        """
        rows = list(rows)
        if origins is None:
            origins = [Origin(name, row) for row in range(1, len(rows) + 1)]
        if not rows:
            raise DataError(f"{name}: no rows")
        cells = [_cells(row, origin) for row, origin in zip(rows, origins, strict=True)]
        frame = pd.DataFrame(cells, columns=list(COLUMNS), dtype="str")
        frame["id"] = _with_derived_ids(frame)
        names = (
            _sorted_labels(frame["label"])
            if labels is None
            else tuple(str(label) for label in labels)
        )
        validate(frame, names, origins)
        return cls(frame, names, name)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def languages(self) -> tuple[str, ...]:
        """Language tags in order of first appearance."""
        return tuple(self.frame["language"].unique())

    @property
    def is_parallel(self) -> bool:
        """Whether every row has an item and, split by split, every item stands in every language."""
        if not len(self) or (self.frame["item"] == "").any():
            return False
        by_split = self.frame.groupby("split")
        return bool(
            (by_split.size() == by_split["item"].nunique() * by_split["language"].nunique()).all()
        )

    @property
    def has_pairs(self) -> bool:
        """Whether any row has a second text."""
        return bool((self.frame["text_pair"] != "").any())

    @property
    def label_index(self) -> np.ndarray:
        """Class index of every row: [rows] int64."""
        return pd.Index(self.labels).get_indexer(pd.Index(self.frame["label"])).astype(np.int64)

    def select(
        self, *, split: str | None = None, languages: Sequence[str] | None = None
    ) -> "Corpus":
        """The rows of one split and of some languages, in the corpus' order; labels stay as they are.

        Raises: DataError if a language has no row in that split.
        """
        if split is not None and split not in SPLITS:
            raise DataError(f'{self.name}: split "{split}" is not one of {", ".join(SPLITS)}')
        frame = self.frame if split is None else self.frame[self.frame["split"] == split]
        if languages is not None:
            wanted = [normalise(tag) for tag in languages]
            present = frame["language"].unique()
            absent = [tag for tag in wanted if tag not in present]
            if absent:
                raise DataError(
                    f"{self.name}: no {split + ' ' if split else ''}rows in {', '.join(absent)}; "
                    f"languages present: {', '.join(present) or 'none'}"
                )
            frame = frame[frame["language"].isin(wanted)]
        return Corpus(frame.reset_index(drop=True), self.labels, self.name)

    def take(self, positions: Sequence[int]) -> "Corpus":
        """The rows at these positions, in this order."""
        frame = self.frame.iloc[list(positions)].reset_index(drop=True)
        return Corpus(frame, self.labels, self.name)

    def fingerprint(self) -> str:
        """SHA-256 (hex) of labels and rows in their order; the name does not count."""
        digest = hashlib.sha256(json.dumps(self.labels).encode())
        for line in _lines(self.frame):
            digest.update(line.encode())
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Write the rows to `path` (JSONL) and name, labels and fingerprint to `<path>.meta.json`, each at once.

        Raises: StudyError if the disk refuses.
        """
        meta = {"name": self.name, "labels": self.labels, "fingerprint": self.fingerprint()}
        write_text(path, "".join(_lines(self.frame)))
        write_text(_meta_path(path), json.dumps(meta, ensure_ascii=False, indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Corpus":
        """Read what `write` wrote.

        Raises: DataError if a file is missing or the rows are not those that were written.
        """
        try:
            meta = json.loads(_meta_path(path).read_bytes())
            rows = [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]
            frame = pd.DataFrame(rows, columns=list(COLUMNS), dtype="str")
            corpus = cls(frame, tuple(meta["labels"]), meta["name"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a stored corpus ({error}); make it again") from None
        if corpus.fingerprint() != meta["fingerprint"]:
            raise DataError(f"{path}: rows differ from those that were stored; make it again")
        return corpus


def _cells(row: Mapping[str, Any], origin: Origin) -> tuple[str, ...]:
    """The row's values in column order, as text."""
    for field in ("language", "text", "label", "split"):
        if field not in row:
            raise DataError(
                f"{origin}: no field {field}; found {', '.join(map(str, row)) or 'none'}"
            )
    values = {field: _as_text(row.get(field), field, origin) for field in COLUMNS}
    try:
        values["language"] = normalise(values["language"])
    except DataError as error:
        raise DataError(f"{origin}: {error}") from None
    return tuple(values[field] for field in COLUMNS)


def _as_text(value: Any, field: str, origin: Origin) -> str:
    """Strings and whole numbers as text, None and NaN as ""."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not isinstance(value, str) and not is_whole:
        kind = type(value).__name__
        raise DataError(f"{origin}: {field} is {value!r} ({kind}), expected text or a whole number")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{origin}: {field} holds half of a surrogate pair, expected valid Unicode"
        ) from None
    return text


def _check_strings(frame: pd.DataFrame, origins: Sequence[Origin]) -> None:
    for field in COLUMNS:
        if frame[field].dtype == "str" and not frame[field].hasnans:
            continue
        wrong = ~frame[field].map(lambda value: isinstance(value, str)).to_numpy(dtype=bool)
        if wrong.any():
            raise DataError(
                f'{origins[int(wrong.argmax())]}: {field} is not text; "" stands for absent'
            )


def _with_derived_ids(frame: pd.DataFrame) -> pd.Series:
    number = frame.groupby(["split", "language"]).cumcount().astype(str).str.zfill(4)
    own = [
        item.removeprefix(f"{split}-")
        for item, split in zip(frame["item"], frame["split"], strict=True)
    ]
    last = pd.Series(own, dtype="str").where(frame["item"] != "", number)
    derived = frame["split"] + "-" + frame["language"] + "-" + last
    return frame["id"].where(frame["id"] != "", derived)


def _sorted_labels(labels: pd.Series) -> tuple[str, ...]:
    """Distinct labels; numbers in numeric order, so that "10" comes after "9"."""
    found = [label for label in labels.unique() if label]
    if all(label.isdecimal() for label in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def _lines(frame: pd.DataFrame) -> Iterable[str]:
    for row in zip(*(frame[column] for column in COLUMNS), strict=True):
        yield json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n"


def _meta_path(path: Path) -> Path:
    return path.with_name(path.name + ".meta.json")
