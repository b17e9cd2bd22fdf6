"""The data section of a study, end to end from files on disk to a corpus, and everything that can be wrong with it."""

import json
from pathlib import Path

import pytest

from sprachbund.data import Corpus, DataConfig, load_corpus, sample
from sprachbund.errors import DataError, SprachbundWarning


def write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def rows(split: str, languages: tuple[str, ...] = ("en", "de"), n: int = 4) -> list[dict]:
    return [
        {
            "language": lang,
            "text": f"{lang} {split} {i}",
            "label": "ab"[i % 2],
            "item": f"{split}{i}",
        }
        for lang in languages
        for i in range(n)
    ]


def load(section: dict, languages: list[str], base: Path) -> Corpus:
    return load_corpus(DataConfig.model_validate(section), languages, base)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    write(tmp_path / "train.jsonl", rows("train"))
    write(tmp_path / "test.jsonl", rows("test", ("en", "de", "ko")))
    return tmp_path


PLAIN = {"train": "train.jsonl", "test": "test.jsonl"}


def test_two_files_are_all_that_is_needed(plain: Path) -> None:
    corpus = load(PLAIN, ["de", "en", "ko"], plain)
    assert len(corpus) == 20
    assert corpus.labels == ("a", "b")
    assert corpus.is_parallel
    assert corpus.select(split="test").languages == ("en", "de", "ko")


def test_only_the_languages_asked_for_are_kept(plain: Path) -> None:
    assert load(PLAIN, ["eng_Latn"], plain).languages == ("en",)


def test_the_section_can_be_written_out_and_read_again(plain: Path) -> None:
    config = DataConfig.model_validate(PLAIN | {"where": {"label": ["a", "b"]}})
    again = DataConfig.model_validate(config.model_dump())
    assert again == config
    assert DataConfig.model_validate(config.model_dump(exclude_defaults=True)) == config
    assert (
        load_corpus(again, ["en"], plain).fingerprint()
        == load_corpus(config, ["en"], plain).fingerprint()
    )


def test_one_file_per_language_is_found_by_any_spelling_of_the_tag(tmp_path: Path) -> None:
    for code in ("eng_Latn", "zho_Hans", "kor_Hang"):
        for split in ("train", "test"):
            write(
                tmp_path / split / f"{code}.jsonl",
                [{"text": f"{code} {split}", "label": 1, "id": split}],
            )
    section = {
        "train": "train/{language}.jsonl",
        "test": "test/{language}.jsonl",
        "columns": {"item": "id"},
    }
    corpus = load(section, ["zh", "en", "ko"], tmp_path)
    assert corpus.languages == ("zh", "en", "ko")
    assert corpus.frame["id"].iloc[0] == "train-zh-train"
    assert corpus.labels == ("1",)


def test_columns_where_and_constants_shape_rows_of_one_file(tmp_path: Path) -> None:
    everything = [
        {"n": i, "split": split, "sentence": f"{split} {i}", "class": i % 2, "text": "not this"}
        for split in ("train", "dev", "test")
        for i in range(3)
    ]
    write(tmp_path / "all.jsonl", everything)
    section = {
        "train": {"path": "all.jsonl", "where": {"split": ["train", "dev"]}},
        "test": {"path": "all.jsonl", "where": {"split": "test"}, "constants": {"group": "g"}},
        "columns": {"text": "sentence", "label": "class"},
        "constants": {"language": "en"},
        "labels": [1, 0],
    }
    corpus = load(section, ["en"], tmp_path)
    assert corpus.labels == ("1", "0")
    assert corpus.frame["text"].tolist()[:4] == ["train 0", "train 1", "train 2", "dev 0"]
    assert corpus.select(split="test").frame["group"].tolist() == ["g"] * 3


def test_a_column_that_is_mapped_is_not_taken_under_its_own_name_too(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"id": 7, "language": "en", "text": "x", "label": "a"}])
    write(tmp_path / "b.jsonl", [{"id": 8, "language": "en", "text": "y", "label": "a"}])
    corpus = load(
        {"train": "a.jsonl", "test": "b.jsonl", "columns": {"item": "id"}}, ["en"], tmp_path
    )
    assert corpus.frame[["id", "item"]].to_numpy().tolist() == [
        ["train-en-7", "7"],
        ["test-en-8", "8"],
    ]


def test_ids_of_ones_own_are_kept_where_they_are_unique(tmp_path: Path) -> None:
    write(
        tmp_path / "train.jsonl", [row | {"id": f"mine{i}"} for i, row in enumerate(rows("train"))]
    )
    write(
        tmp_path / "test.jsonl", [row | {"id": f"yours{i}"} for i, row in enumerate(rows("test"))]
    )
    assert load(PLAIN, ["en", "de"], tmp_path).frame["id"].tolist()[:2] == ["mine0", "mine1"]


def test_ids_that_repeat_across_languages_are_told_apart_and_said(tmp_path: Path) -> None:
    for split in ("train", "test"):
        both = [
            {k: v for k, v in row.items() if k != "item"} | {"id": row["item"]}
            for row in rows(split)
        ]
        write(tmp_path / f"{split}.jsonl", both)
    with pytest.warns(SprachbundWarning, match=r"columns: \{item: id\}"):
        corpus = load(PLAIN, ["en", "de"], tmp_path)
    assert corpus.frame["id"].iloc[0] == "train-en-train0"
    with pytest.warns(SprachbundWarning):
        alone = load(PLAIN, ["en"], tmp_path)
    assert alone.frame["id"].iloc[0] == "train-en-train0", (
        "a row keeps its id whichever languages are asked for"
    )


def test_items_that_both_splits_number_alike_are_told_apart(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(
            tmp_path / f"{split}.jsonl",
            [row | {"item": i % 4} for i, row in enumerate(rows(split))],
        )
    corpus = load(PLAIN, ["en", "de"], tmp_path)
    assert corpus.frame["item"].iloc[[0, -1]].tolist() == ["train-0", "test-3"]
    assert corpus.frame["id"].iloc[[0, -1]].tolist() == ["train-en-0", "test-de-3"]


def test_test_rows_that_copy_training_rows_are_said(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", rows("train"))
    write(tmp_path / "test.jsonl", [*rows("test"), rows("train")[5] | {"item": "copy"}])
    with pytest.warns(
        SprachbundWarning, match=r"test\.jsonl, row 9: 1 test rows have the same text .*de 1"
    ):
        load(PLAIN, ["en", "de"], tmp_path)


def test_the_embedded_corpus_is_read_in_the_languages_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("sprachbund.embedded.emoji")
    corpus = load({"embedded": "emoji"}, ["en", "ko"], tmp_path)
    assert corpus.languages == ("en", "ko")
    assert corpus.is_parallel


def test_real_sib200_is_sampled_in_parallel(shared_data: Path) -> None:
    section = {
        "train": {"path": "sib200/{language}.jsonl.gz", "where": {"split": "train"}},
        "test": {"path": "sib200/{language}.jsonl.gz", "where": {"split": "test"}},
        "columns": {"item": "id"},
    }
    languages = ["en", "de", "ru", "ko", "sw", "zh"]
    corpus = load(section, languages, shared_data)
    assert len(corpus.labels) == 7
    assert corpus.is_parallel
    drawn = sample(corpus, split="train", languages=languages, per_language=300, seed=0)
    assert len(drawn) == 1800
    assert drawn.is_parallel


BAD_TEST_ROWS = {
    "no text": ({"text": None}, 'row 3: no field "text"; found language, label, item'),
    "misspelt field": (
        {"label": None, "lable": "a"},
        'row 3: no field "label"; found language, text, item, lable; did you',
    ),
    "no language": ({"language": None}, 'row 3: no field "language"'),
    "empty text": ({"text": ""}, "row 3: text is empty"),
    "empty label": ({"label": ""}, "row 3: label is empty"),
    "label not in train": (
        {"label": "c"},
        'row 3: label "c" does not occur among the training rows (a, b)',
    ),
    "malformed language": (
        {"language": "german"},
        'row 3: language "german" is not a BCP-47 tag; did you mean "de"?',
    ),
    "item twice": (
        {"item": "test0"},
        'row 3: item "test0" has a second row in language en (the first is',
    ),
    "leaked item": (
        {"item": "train1", "text": "en train 1"},
        'row 3: item "train1" is a test item and a training item too',
    ),
    "number as text": ({"text": 0.5}, "row 3: text is 0.5 (float), expected text"),
}


@pytest.mark.parametrize("case", BAD_TEST_ROWS)
def test_a_bad_row_is_named_by_file_row_and_field(plain: Path, case: str) -> None:
    change, message = BAD_TEST_ROWS[case]
    bad = rows("test")
    bad[2] = {field: value for field, value in {**bad[2], **change}.items() if value is not None}
    write(plain / "test.jsonl", bad)
    with pytest.raises(DataError) as caught:
        load(PLAIN, ["en", "de"], plain)
    assert f"{plain / 'test.jsonl'}, {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "languages", "message"),
    [
        (
            PLAIN,
            ["en", "fr", "sw"],
            "train.jsonl and test.jsonl: no rows in fr, sw; languages present: de, en, ko",
        ),
        (PLAIN, ["english"], 'language "english" is not a BCP-47 tag'),
        (PLAIN, [], "no languages asked for"),
        (
            PLAIN | {"train": "tran.jsonl"},
            ["en"],
            "tran.jsonl: no such file; did you mean train.jsonl",
        ),
        (PLAIN | {"train": "."}, ["en"], "unknown kind of file"),
        (
            PLAIN | {"columns": {"text": "txt"}},
            ["en"],
            'row 1: no field "txt" (columns: text); found language, text',
        ),
        (PLAIN | {"where": {"splt": "x"}}, ["en"], 'row 1: no field "splt" (where)'),
        (
            PLAIN | {"where": {"label": "z"}},
            ["en"],
            "train.jsonl: no row where label is z; values found: a, b",
        ),
        (PLAIN | {"labels": ["a"]}, ["en"], 'train.jsonl, row 2: label "b" is not one of a'),
        (
            PLAIN | {"train": "{language}.jsonl"},
            ["en"],
            "{language}.jsonl: no file matches for any language",
        ),
        (
            PLAIN | {"train": "x/{language}.jsonl"},
            ["fr"],
            "nothing for fr; languages present: en, zh",
        ),
        (PLAIN | {"train": "x/{language}.jsonl"}, ["zh"], "are all of language zh; keep one"),
    ],
)
def test_a_section_that_does_not_fit_the_files_is_an_error(
    plain: Path, section, languages, message: str
) -> None:
    for code in ("en", "zh", "zho_Hans", "notes about it"):
        write(plain / "x" / f"{code}.jsonl", rows("train"))
    with pytest.raises(DataError) as caught:
        load(section, languages, plain)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_item_in_both_splits_in_different_languages_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [row | {"item": "1"} for row in rows("train", ("en",), 1)])
    write(tmp_path / "test.jsonl", [row | {"item": "1"} for row in rows("test", ("ko",), 1)])
    with pytest.raises(
        DataError, match=r'test\.jsonl, row 1: item "1" is in both splits .*in different languages'
    ):
        load(PLAIN, ["en", "ko"], tmp_path)
