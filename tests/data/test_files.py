"""Files of rows: every format gives the same records; what is damaged is named by file, line and place."""

import csv
import gzip
import io
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprachbund.data.files import read_records
from sprachbund.errors import DataError

ROWS = [
    {"language": "en", "text": 'He said "no",\u2028 then left', "label": "a"},
    {"language": "ar", "text": "قال لا", "label": "b"},
]


def as_jsonl(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_table(rows: list[dict], delimiter: str) -> bytes:
    out = io.StringIO(newline="")
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(
        out, rows[0], delimiter=delimiter, quoting=quoting, quotechar=None if quoting else '"'
    )
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_parquet(rows: list[dict]) -> bytes:
    return pd.DataFrame(rows).to_parquet(index=False)


CONTENT = {
    "rows.jsonl": as_jsonl(ROWS),
    "rows.json": as_jsonl(ROWS),
    "rows.csv": as_table(ROWS, ","),
    "rows.tsv": as_table(ROWS, "\t"),
    "rows.parquet": as_parquet(ROWS),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", CONTENT)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, zipped: bool) -> None:
    path = tmp_path / (name + ".gz" if zipped else name)
    path.write_bytes(gzip.compress(CONTENT[name]) if zipped else CONTENT[name])
    records = read_records(path)
    assert [record.fields for record in records] == ROWS
    assert records[0].origin.file == str(path)


@settings(max_examples=50, deadline=None)
@given(
    texts=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=5
    )
)
def test_any_text_survives_json_lines_and_csv(texts: list[str], tmp_path_factory) -> None:
    rows = [{"text": text, "label": "a"} for text in texts]
    folder = tmp_path_factory.mktemp("files")
    for name, data in (("rows.jsonl", as_jsonl(rows)), ("rows.csv", as_table(rows, ","))):
        (folder / name).write_bytes(data)
        assert [record.fields for record in read_records(folder / name)] == rows, name


def test_rows_are_numbered_by_their_line_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\n\n{"text": "y"}\n')
    (tmp_path / "a.csv").write_bytes(b'text,label\n"two\nlines",a\n\nz,b\n')
    assert [record.origin.row for record in read_records(tmp_path / "a.jsonl")] == [1, 3]
    assert [record.origin.row for record in read_records(tmp_path / "a.csv")] == [2, 5]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufefftext,label\nx,a\n".encode())
    assert read_records(tmp_path / "a.csv")[0].fields == {"text": "x", "label": "a"}


def test_a_quotation_mark_in_tsv_is_only_a_character(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b'text\tlabel\n"Never\ta\nsaid" he\tb\n')
    assert [record.fields["text"] for record in read_records(tmp_path / "a.tsv")] == [
        '"Never',
        'said" he',
    ]


ZIPPED = gzip.compress(as_jsonl(ROWS * 50))
BAD_FILES = {
    "truncated gzip": ("a.jsonl.gz", ZIPPED[:-30], "a.jsonl.gz: the gzip file is cut short"),
    "not gzip": ("a.jsonl.gz", as_jsonl(ROWS), "a.jsonl.gz: not a sound gzip file"),
    "damaged gzip": (
        "a.csv.gz",
        ZIPPED[:30] + b"\xff" * 20 + ZIPPED[50:],
        "a.csv.gz: not a sound gzip file",
    ),
    "not UTF-8": (
        "a.jsonl",
        b'{"text": "x"}\n{"text": "caf\xe9"}\n',
        "a.jsonl, row 2: not UTF-8 (byte 0xe9 at offset 27)",
    ),
    "UTF-16": (
        "a.csv",
        "text,label\n".encode("utf-16"),
        "a.csv, row 1: not UTF-8 (byte 0xff at offset 0)",
    ),
    "bad JSON": (
        "a.jsonl",
        b'{"text": "x"}\n{"text": }\n',
        "a.jsonl, row 2: not JSON (Expecting value at column 10)",
    ),
    "cut JSON": (
        "a.jsonl",
        b'{"text": "x"}\n{"text": "y',
        "a.jsonl, row 2: not JSON (Unterminated string",
    ),
    "indented JSON": ("a.json", b'[\n {"text": "x"}\n]', "a.json, row 1: not JSON"),
    "JSON list": ("a.jsonl", b'["x"]\n', "a.jsonl, row 1: found a list, expected a JSON object"),
    "empty": ("a.jsonl", b"", "a.jsonl: the file is empty"),
    "blank": ("a.csv", b"\n \n", "a.csv: the file is empty"),
    "empty gzip": ("a.tsv.gz", gzip.compress(b""), "a.tsv.gz: the file is empty"),
    "header only": ("a.csv", b"text,label\n", "a.csv: the file has no rows below its header"),
    "cells missing": (
        "a.csv",
        b"text,label\nx,a\ny\n",
        "a.csv, row 3: 1 cells, expected 2 (text, label)",
    ),
    "cells over": ("a.tsv", b"text\tlabel\nx\ta\tb\n", "a.tsv, row 2: 3 cells, expected 2"),
    "open quotation": (
        "a.csv",
        b'text,label\n"x,a\ny,b\n',
        "not sound CSV (unexpected end of data)",
    ),
    "column twice": ("a.csv", b"text,text\nx,a\n", "a.csv, row 1: a column name stands twice"),
    "not Parquet": ("a.parquet", b"text,label\n", "a.parquet: not a sound Parquet file"),
    "cut Parquet": (
        "a.parquet",
        CONTENT["rows.parquet"][:-20],
        "a.parquet: not a sound Parquet file",
    ),
    "unknown suffix": ("a.txt", b"x", "a.txt: unknown kind of file; expected .jsonl"),
    "no suffix": ("a", b"x", "a: unknown kind of file"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_damaged_file_is_one_line_that_names_it(tmp_path: Path, case: str) -> None:
    name, content, message = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_records(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_where_a_file_is_meant(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").mkdir()
    with pytest.raises(DataError, match=r"rows\.jsonl: is a folder, expected a file"):
        read_records(tmp_path / "rows.jsonl")


def test_an_absent_file_brings_near_names(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b"{}")
    with pytest.raises(DataError, match=r"trian\.jsonl: no such file; did you mean train\.jsonl\?"):
        read_records(tmp_path / "trian.jsonl")
    with pytest.raises(DataError, match="no such file; nor is there a folder"):
        read_records(tmp_path / "no" / "train.jsonl")
    with pytest.raises(DataError, match=r"the folder .* holds train\.jsonl"):
        read_records(tmp_path / "zzz.csv")


def test_a_file_that_may_not_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"{}")

    def refused(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(DataError, match=r"rows\.jsonl: cannot be read \(Permission denied\)"):
        read_records(tmp_path / "rows.jsonl")
