"""Files of rows: JSONL, CSV, TSV and Parquet, each also gzipped, read whole into records.

Text is UTF-8. TSV follows its registered definition (text/tab-separated-values): no quoting. What is damaged is an
error that says where, never a shorter data set.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sprachbund.data.records import Record, listed
from sprachbund.data.validation import Origin
from sprachbund.errors import DataError

_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}

_JSON_TYPES = {
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def read_records(path: Path) -> list[Record]:
    """All rows of a file, each with its 1-based line (Parquet: its row).

    Raises: DataError if the file is absent, a folder, damaged, empty, or not what its suffix says.
    """
    kind = _format(path)
    data = _bytes(path)
    if not data.strip():
        raise DataError(f"{path}: the file is empty, expected rows")
    if kind == "parquet":
        rows = _parquet(path, data)
    else:
        text = _decode(path, data)
        rows = _jsonl(path, text) if kind == "jsonl" else _table(path, text, kind)
    records = [Record(Origin(str(path), number), fields) for number, fields in rows]
    if not records:
        raise DataError(f"{path}: the file has no rows below its header, expected at least one")
    return records


def _format(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    kind = _FORMATS.get(suffixes[-1] if suffixes else "")
    if kind is None:
        raise DataError(
            f"{path}: unknown kind of file; expected {', '.join(_FORMATS)}, each also with .gz"
        )
    return kind


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        raise DataError(
            f"{path}: is a folder, expected a file; for a data set's folder write `hub: {path}`"
        )
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix.lower() == ".gz" else data
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {near_names(path)}") from None
    except EOFError:
        raise DataError(f"{path}: the gzip file is cut short; fetch it again") from None
    except (gzip.BadGzipFile, zlib.error):
        raise DataError(
            f"{path}: not a sound gzip file; fetch it again, or drop .gz from its name if it is not packed"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def near_names(path: Path) -> str:
    """What the user may have meant instead of a path that does not exist."""
    folder = path.parent
    if not folder.is_dir():
        return f"nor is there a folder {folder}"
    names = sorted(entry.name for entry in folder.iterdir())
    near = get_close_matches(path.name, names, n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"the folder {folder} holds {listed(names, most=8)}"


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, row {line}: not UTF-8 (byte 0x{data[error.start]:02x} at offset {error.start}); "
            "save the file as UTF-8"
        ) from None


def _jsonl(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # Only "\n" ends a line: str.splitlines would also break at U+2028 inside a text.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}, row {number}: not JSON ({error.msg} at column {error.colno}); expected one object a line"
            ) from None
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, row {number}: found {_JSON_TYPES[type(row)]}, expected a JSON object"
            )
        yield number, row


def _table(path: Path, text: str, kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = io.StringIO(text, newline="")
    if kind == "csv":
        reader = csv.reader(lines, strict=True)
    else:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        header = next(reader)
        if len(set(header)) < len(header):
            raise DataError(
                f"{path}, row 1: a column name stands twice in the header: {listed(header)}"
            )
        start = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                raise DataError(
                    f"{path}, row {start}: {len(cells)} cells, expected {len(header)} ({listed(header)})"
                )
            if cells:
                yield start, dict(zip(header, cells, strict=True))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}, row {reader.line_num}: not sound {kind.upper()} ({error})"
        ) from None


def _parquet(path: Path, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(io.BytesIO(data))
    except (pyarrow.ArrowException, OSError):
        raise DataError(f"{path}: not a sound Parquet file; fetch it again") from None
    yield from enumerate(table.to_pylist(), start=1)
