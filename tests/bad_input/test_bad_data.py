"""Mistakes in the files of rows, and in what is asked of them."""

import gzip

from mistakes import Mistake, check, each


def row(number: int, name: str = "train.jsonl", **fields):
    return lambda study: study.change_row(number, name, **fields)


def keys(**changed):
    return lambda study: study.set(**changed)


def train_file(name: str, content: bytes):
    """Training rows from a file of this name and content."""

    def make(study):
        study.write(name, content)
        study.set(data={"train": name})

    return make


def truncated_gzip(study):
    packed = gzip.compress((study.folder / "train.jsonl").read_bytes())
    train_file("train.jsonl.gz", packed[: len(packed) // 2])(study)


def repeated_item(study):
    study.change_row(3, item=study.rows()[0]["item"])


def repeated_id(study):
    rows = study.rows()
    study.write_rows([{**r, "id": "a" if i < 2 else f"r{i}"} for i, r in enumerate(rows)])


def trained_test_item(study):
    test = study.rows("test.jsonl")[0]
    study.write_rows([*study.rows(), test])


def without_german_test_rows(study):
    rows = [r for r in study.rows("test.jsonl") if r["language"] != "de"]
    study.write_rows(rows, "test.jsonl")


def invalid_line(study):
    lines = (study.folder / "train.jsonl").read_text().splitlines()
    lines[4] = '{"language": "en", '
    study.write("train.jsonl", "\n".join(lines))


def one_label(study):
    study.write_rows([{**r, "label": "good"} for r in study.rows()])
    study.write_rows([{**r, "label": "good"} for r in study.rows("test.jsonl")], "test.jsonl")


TSV = b"language\titem\ttext\tlabel\nen\t1\tgood\tpositive\textra\n"

MISTAKES = [
    Mistake(
        "a missing column",
        row(2, label=None),
        ('train.jsonl, row 2: no field "label"', "found language, item, text"),
    ),
    Mistake(
        "a column of another name",
        keys(data={"columns": {"text": "txt"}}),
        ('train.jsonl, row 1: no field "txt"', 'did you mean "text"?'),
    ),
    Mistake(
        "no column of languages",
        row(1, language=None),
        ('train.jsonl, row 1: no field "language"',),
    ),
    Mistake(
        "an unknown label",
        lambda study: (
            study.set(data={"labels": ["negative", "positive"]}),
            study.change_row(5, label="postive"),
        ),
        ('train.jsonl, row 5: label "postive"', "not one of negative, positive"),
    ),
    Mistake(
        "a label that is not trained on",
        row(2, "test.jsonl", label="neutral"),
        ('test.jsonl, row 2: label "neutral"', "training rows (negative, positive)"),
    ),
    Mistake(
        "only one label",
        one_label,
        ('train.jsonl and test.jsonl: "good" is the only label', "at least two"),
    ),
    Mistake("an empty label", row(3, label=""), ("train.jsonl, row 3: label is empty",)),
    Mistake("an empty text", row(3, text=""), ("train.jsonl, row 3: text is empty",)),
    Mistake("a text of blanks", row(3, text=" \t"), ("train.jsonl, row 3: text is empty",)),
    Mistake(
        "a text that is a list", row(3, text=["a"]), ("train.jsonl, row 3: text", "expected text")
    ),
    Mistake(
        "an id twice",
        repeated_id,
        ('train.jsonl, row 2: id "a" stands already in train.jsonl, row 1',),
    ),
    Mistake(
        "an item with two rows in a language",
        repeated_item,
        ('train.jsonl, row 3: item "000" has a second row in language en', "train.jsonl, row 1"),
    ),
    Mistake(
        "a test item that is trained on",
        trained_test_item,
        ('test.jsonl, row 1: item "012"', "a training item too (train.jsonl, row 25)"),
    ),
    Mistake(
        "an unknown language in a row",
        row(4, language="qq"),
        ('train.jsonl, row 4: language "qq"', "not a registered code"),
    ),
    Mistake(
        "a malformed language in a row",
        row(4, language="english language"),
        ('train.jsonl, row 4: language "english language" is not a BCP-47 tag',),
    ),
    Mistake(
        "a language that the data does not have",
        keys(languages={"test": ["en", "ko"]}),
        ("no rows in ko", "languages present: de, en"),
    ),
    Mistake(
        "a language without test rows",
        without_german_test_rows,
        ("train.jsonl and test.jsonl: no test rows in de", "languages present: en"),
    ),
    Mistake(
        "more training examples than there are",
        keys(train_per_language=13),
        ("split train: 13 of en, 13 of de asked, but there are en 12, de 12",),
    ),
    Mistake(
        "more test examples than there are",
        keys(test_per_language=5),
        ("split test: 5 of en, 5 of de asked, but there are en 4, de 4",),
    ),
    Mistake(
        "more examples to evaluate than there are",
        keys(evaluation_per_language=9),
        ("split test: 9 of en, 9 of de asked",),
    ),
    Mistake(
        "k larger than the training set",
        keys(analysis={"k": 17}),
        ("analysis.k is 17, but there are only 16 training examples", "lower k"),
    ),
    Mistake(
        "a file of rows that does not exist",
        keys(data={"train": "trian.jsonl"}),
        ("trian.jsonl: no such file; did you mean train.jsonl",),
    ),
    Mistake(
        "a file of rows in no folder",
        keys(data={"train": "texts/train.jsonl"}),
        ("texts/train.jsonl: no such file", "nor is there a folder texts"),
    ),
    Mistake(
        "no file of any language",
        keys(data={"train": "train.{language}.jsonl"}),
        ("train.{language}.jsonl: no file matches",),
    ),
    Mistake(
        "a folder for a file of rows",
        lambda study: (
            (study.folder / "rows.jsonl").mkdir(),
            study.set(data={"train": "rows.jsonl"}),
        ),
        ("rows.jsonl: is a folder, expected a file",),
    ),
    Mistake(
        "a file of unknown kind",
        train_file("train.docx", b"PK"),
        ("train.docx: unknown kind of file; expected .jsonl",),
    ),
    Mistake("a truncated gzip", truncated_gzip, ("train.jsonl.gz", "cut short")),
    Mistake(
        "a gzip that is none", train_file("t.csv.gz", b"text,label\n"), ("t.csv.gz: not a", "gzip")
    ),
    Mistake(
        "a parquet that is none",
        train_file("train.parquet", b"not parquet at all"),
        ("train.parquet: not a sound Parquet file",),
    ),
    Mistake(
        "rows that are not UTF-8",
        train_file("t.jsonl", '{"text": "übel"}\n'.encode("latin-1")),
        ("t.jsonl, row 1: not UTF-8", "save the file as UTF-8"),
    ),
    Mistake("an empty file", train_file("t.jsonl", b""), ("t.jsonl: the file is empty",)),
    Mistake("a header alone", train_file("t.csv", b"text,label\n"), ("t.csv", "no rows")),
    Mistake("a line that is no JSON", invalid_line, ("train.jsonl, row 5: not JSON",)),
    Mistake(
        "a line that is no object",
        train_file("t.jsonl", b'["en", "good"]\n'),
        ("t.jsonl, row 1: found a list, expected a JSON object",),
    ),
    Mistake(
        "a cell too many",
        train_file("t.tsv", TSV),
        ("t.tsv, row 2: 5 cells, expected 4 (language",),
    ),
    Mistake(
        "a data set without a network",
        keys(data={"hub": "nobody/nothing", "train": "train", "test": "test"}),
        ("data set nobody/nothing: cannot be loaded", "check the name and the network"),
    ),
]


@each(MISTAKES)
def test_a_mistake_in_the_data_is_told_in_one_line_and_loses_nothing(study, mistake):
    check(study, mistake)
