"""A corpus: round trip, what it knows of itself, and its selections."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprachbund.data import Corpus
from sprachbund.errors import DataError

TEXT = st.text(min_size=1).filter(lambda text: bool(text.strip()))


def corpus(**changes: object) -> Corpus:
    rows = [
        {
            "language": language,
            "item": str(i),
            "text": f"{language} {i}",
            "label": "ba"[i % 2],
            "split": split,
        }
        | changes
        for split in ("train", "test")
        for language in ("en", "de")
        for i in range(4)
    ]
    return Corpus.from_rows(rows, name="small")


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.tuples(TEXT, st.text(), TEXT), min_size=1, max_size=8))
def test_what_is_written_is_read_back_exactly(
    texts: list[tuple[str, str, str]], tmp_path_factory
) -> None:
    rows = [
        {"language": "en", "text": text, "text_pair": pair, "label": label, "split": "train"}
        for text, pair, label in texts
    ]
    written = Corpus.from_rows(rows, name="né\u2028")
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    written.write(path)
    read = Corpus.read(path)
    pd.testing.assert_frame_equal(read.frame, written.frame)
    assert (read.labels, read.name, read.fingerprint()) == (
        written.labels,
        written.name,
        written.fingerprint(),
    )


def test_the_written_rows_are_plain_json_lines(tmp_path: Path) -> None:
    corpus().write(tmp_path / "corpus.jsonl")
    frame = pd.read_json(tmp_path / "corpus.jsonl", lines=True, dtype=str)
    assert list(frame.columns) == [
        "id",
        "language",
        "item",
        "group",
        "text",
        "text_pair",
        "label",
        "split",
    ]
    assert len(frame) == 16


def test_a_stored_corpus_whose_rows_were_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    corpus().write(path)
    path.write_text(path.read_text().replace("en 0", "en zero"))
    with pytest.raises(DataError, match=r"corpus\.jsonl: rows differ"):
        Corpus.read(path)


@pytest.mark.parametrize("damage", ["no rows", "no meta", "cut short", "no labels"])
def test_a_damaged_stored_corpus_is_an_error_that_names_the_file(
    tmp_path: Path, damage: str
) -> None:
    path, meta = tmp_path / "corpus.jsonl", tmp_path / "corpus.jsonl.meta.json"
    corpus().write(path)
    if damage == "no rows":
        path.unlink()
    elif damage == "no meta":
        meta.unlink()
    elif damage == "cut short":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        meta.write_text("{}")
    with pytest.raises(DataError, match=r"corpus\.jsonl"):
        Corpus.read(path)


def test_labels_keep_their_order_and_index_the_rows() -> None:
    rows = [
        {"language": "en", "text": "x", "label": label, "split": "train"}
        for label in ("good", "bad", "good")
    ]
    given_order = Corpus.from_rows(rows, labels=["good", "bad"])
    assert given_order.labels == ("good", "bad")
    assert given_order.label_index.tolist() == [0, 1, 0]
    assert Corpus.from_rows(rows).labels == ("bad", "good")


def test_whole_number_labels_become_text_in_numeric_order() -> None:
    rows = [
        {"language": "en", "text": "x", "label": label, "split": "train"}
        for label in (10, np.int64(9), "2")
    ]
    assert Corpus.from_rows(rows).labels == ("2", "9", "10")


def test_ids_are_made_from_split_language_and_item_where_there_are_none() -> None:
    assert corpus().frame["id"].iloc[[0, -1]].tolist() == ["train-en-0", "test-de-3"]
    assert corpus(item="").frame["id"].iloc[[1, -1]].tolist() == ["train-en-0001", "test-de-0003"]


def test_languages_are_normalised() -> None:
    rows = [
        {"language": tag, "text": "x", "label": "a", "split": "train"}
        for tag in ("eng_Latn", "zh-CN", "en")
    ]
    assert Corpus.from_rows(rows).languages == ("en", "zh")


def test_a_corpus_is_parallel_when_every_item_of_a_split_is_in_every_language() -> None:
    whole = corpus()
    assert whole.is_parallel
    gap = whole.frame.drop(index=3).reset_index(drop=True)
    assert not Corpus(gap, whole.labels, "gap").is_parallel
    assert not corpus(item="").is_parallel


def test_a_zero_shot_language_leaves_the_corpus_parallel() -> None:
    whole = corpus()
    frame = whole.frame[(whole.frame["split"] == "test") | (whole.frame["language"] == "en")]
    assert Corpus(frame.reset_index(drop=True), whole.labels, "zero-shot").is_parallel


def test_selection_keeps_order_and_labels_and_names_absent_languages() -> None:
    part = corpus().select(split="test", languages=["de", "eng_Latn"])
    assert len(part) == 8
    assert part.languages == ("en", "de")
    assert part.labels == ("a", "b")
    with pytest.raises(DataError, match="no test rows in ko; languages present: en, de"):
        corpus().select(split="test", languages=["ko"])


def test_the_fingerprint_changes_with_content_and_not_with_the_name() -> None:
    whole = corpus()
    assert Corpus(whole.frame, whole.labels, "other").fingerprint() == whole.fingerprint()
    assert Corpus(whole.frame, whole.labels[::-1], "small").fingerprint() != whole.fingerprint()
    reversed_rows = whole.frame.iloc[::-1].reset_index(drop=True)
    assert Corpus(reversed_rows, whole.labels, "small").fingerprint() != whole.fingerprint()


def test_pairs_are_noticed() -> None:
    assert not corpus().has_pairs
    assert corpus(text_pair="y").has_pairs


GOOD = {"id": "r", "language": "en", "item": "1", "text": "t", "label": "a", "split": "train"}
BAD_ROWS = {
    "empty text": ({"text": "  "}, "text is empty"),
    "missing text": ({"text": None}, "text is empty"),
    "no label": ({"label": ""}, "label is empty"),
    "unknown label": ({"label": "c"}, 'label "c" is not one of a, b'),
    "unknown split": ({"split": "dev"}, 'split "dev" is not one of train, test'),
    "language name": (
        {"language": "english"},
        'language "english" is not a BCP-47 tag; did you mean "en"',
    ),
    "no language": ({"language": ""}, "is not a BCP-47 tag"),
    "unregistered language": ({"language": "xx"}, "not a registered code"),
    "item twice": (
        {"item": "0", "id": "new"},
        'item "0" has a second row in language en (the first is f.jsonl, row 11)',
    ),
    "id twice": ({"item": "7", "id": "r0"}, 'id "r0" stands already in f.jsonl, row 11'),
    "fraction as text": ({"text": 1.5}, "text is 1.5 (float)"),
    "true as label": ({"label": True}, "label is True (bool)"),
    "list as text": ({"text": ["t"]}, "text is ['t'] (list)"),
    "half a surrogate pair": ({"text": "\ud83d"}, "text holds half of a surrogate pair"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named_by_file_row_and_field(case: str) -> None:
    from sprachbund.data.validation import Origin

    change, message = BAD_ROWS[case]
    rows = [{**GOOD, "id": f"r{i}", "item": str(i)} for i in range(3)]
    rows[2] |= change
    origins = [Origin("f.jsonl", 11 + i) for i in range(3)]
    with pytest.raises(DataError) as caught:
        Corpus.from_rows(rows, labels=["a", "b"], origins=origins)
    assert str(caught.value).startswith("f.jsonl, row 13: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="group"), "columns are"),
        (lambda frame: frame.iloc[::-1], "rows are not numbered"),
        (lambda frame: frame.assign(language="eng_Latn"), 'not normalised; write "en"'),
        (lambda frame: frame.assign(text=None), "text is not text"),
        (lambda frame: frame.assign(item=3), "item is not text"),
    ],
)
def test_a_frame_of_another_shape_is_refused(change, message: str) -> None:
    whole = corpus()
    with pytest.raises(DataError, match=message):
        Corpus(change(whole.frame), whole.labels, "small")


@pytest.mark.parametrize("labels", [["a", "b", "a"], ["a", "b", ""]])
def test_label_names_are_distinct_and_not_empty(labels: list[str]) -> None:
    with pytest.raises(DataError, match="labels"):
        Corpus.from_rows([GOOD], labels=labels)


def test_no_rows_and_missing_fields_are_errors() -> None:
    with pytest.raises(DataError, match="x: no rows"):
        Corpus.from_rows([], name="x")
    with pytest.raises(DataError, match="x, row 1: no field label; found language, text, split"):
        Corpus.from_rows([{"language": "en", "text": "t", "split": "train"}], name="x")
