"""The published tasks: their labels, their groups, and what leaves."""

from collections import Counter
from pathlib import Path

import pytest

from sprachbund.data import DataConfig, load_corpus
from sprachbund.data.presets import PRESETS
from sprachbund.data.records import Record
from sprachbund.data.validation import Origin
from sprachbund.errors import DataError, SprachbundWarning


def records(*rows: dict, file: str = "f.jsonl") -> list[Record]:
    return [Record(Origin(file, number), dict(row)) for number, row in enumerate(rows, start=1)]


def xnli(language: str, n: int = 6, **changes) -> list[Record]:
    labels = ("neutral", 2, "0")
    return records(
        *(
            {
                "premise": f"{language} p{i // 3}",
                "hypothesis": f"{language} h{i}",
                "label": labels[i % 3],
            }
            | {"language": language}
            | changes
            for i in range(n)
        ),
        file=f"xnli.{language}",
    )


def test_xnli_labels_are_numbers_or_words_and_rows_without_ids_match_by_place() -> None:
    rows, notes = PRESETS["xnli"].prepare(xnli("en") + xnli("de"))
    assert [row.fields["label"] for row in rows[:3]] == ["neutral", "contradiction", "entailment"]
    assert [row.fields["item"] for row in rows] == [str(i) for i in range(6)] * 2
    assert rows[0].fields["text"] == "en p0"
    assert rows[7].fields["text_pair"] == "de h1"
    assert notes == []


def test_xnli_groups_are_the_items_of_one_premise_in_all_languages() -> None:
    rows, _ = PRESETS["xnli"].prepare(xnli("en") + xnli("de"))
    assert Counter(row.fields["group"] for row in rows) == {"premise-0": 6, "premise-3": 6}


def test_xnli_items_that_share_a_premise_in_one_language_only_are_one_group() -> None:
    rows = xnli("en") + xnli("de", premise="gleich")
    prepared, _ = PRESETS["xnli"].prepare(rows)
    assert {row.fields["group"] for row in prepared} == {"premise-0"}


def test_binary_xnli_tells_entailment_from_the_rest() -> None:
    rows, _ = PRESETS["xnli-binary"].prepare(xnli("en"))
    assert Counter(row.fields["label"] for row in rows) == {"entailment": 2, "not_entailment": 4}
    assert PRESETS["xnli-binary"].labels == ("entailment", "not_entailment")


def test_xnli_rows_out_of_step_are_an_error() -> None:
    with pytest.raises(
        DataError, match=r"f\.jsonl: rows have no id, and languages differ .*en 6, de 5"
    ):
        PRESETS["xnli"].prepare(records(*(row.fields for row in xnli("en"))) + xnli("de", 5))
    swapped = xnli("de")
    swapped[0].fields["label"] = "contradiction"
    with pytest.raises(
        DataError, match=r'xnli\.de, row 1: item "0" has label contradiction, but neutral'
    ):
        PRESETS["xnli"].prepare(xnli("en") + swapped)


def paws(language: str, sentences: dict[int, str]) -> list[Record]:
    return records(
        *(
            {
                "id": i,
                "sentence1": f"{language} {i}",
                "sentence2": sentences.get(i, "ok"),
                "label": i % 2,
            }
            | {"language": language}
            for i in range(1, 7)
        )
    )


def test_untranslated_paws_x_items_leave_in_all_languages_with_a_note() -> None:
    rows, notes = PRESETS["paws-x"].prepare(
        paws("en", {}) + paws("de", {2: "NS", 3: " "}) + paws("ko", {5: "ns"})
    )
    for language in ("en", "de", "ko"):
        assert [row.fields["item"] for row in rows if row.fields["language"] == language] == [
            "1",
            "4",
            "6",
        ]
    assert [row.fields["label"] for row in rows[:2]] == ["paraphrase", "different"]
    assert "3 item(s), 9 rows, left out in all languages" in notes[0]
    assert notes[0].endswith("2, 3, 5")


@pytest.mark.parametrize(("field", "offset"), [("stars", 0), ("label", 1)])
def test_marc_keeps_the_poles_of_the_scale_with_a_note(field: str, offset: int) -> None:
    given = records(
        *({field: stars - offset, "text": f"t{stars}", "language": "en"} for stars in range(1, 6))
    )
    rows, notes = PRESETS["marc"].prepare(given)
    assert [(row.fields["text"], row.fields["label"]) for row in rows] == [
        ("t1", "negative"),
        ("t2", "negative"),
        ("t4", "positive"),
        ("t5", "positive"),
    ]
    assert notes == ["marc: 1 of 5 rows left out, reviews of three stars"]


def test_marc_joins_title_and_body() -> None:
    rows, _ = PRESETS["marc"].prepare(
        records(
            {
                "stars": "5",
                "review_title": "Ja",
                "review_body": "gut",
                "language": "de",
                "id": "de_1",
            }
        )
    )
    assert rows[0].fields["text"] == "Ja\n\ngut"
    assert rows[0].fields["id"] == "de_1"


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        (
            "xnli",
            {"premise": "p", "hypothesis": "h", "label": "entails"},
            'label "entails" is not one of 0 (entailment)',
        ),
        ("xnli", {"premise": "p", "hypothesis": "h", "label": 3}, 'label "3" is not one of'),
        ("xnli", {"premise": "p", "label": 0}, 'no field "hypothesis"'),
        ("paws-x", {"sentence1": "a", "sentence2": "b", "label": 0}, 'no field "id"'),
        (
            "paws-x",
            {"id": 1, "sentence1": "a", "sentence2": "b", "label": 2},
            'label "2" is not one of 0 (different)',
        ),
        ("marc", {"text": "a", "label": 5}, "label is 5, expected 0 to 4"),
        ("marc", {"text": "a", "stars": 0}, "stars is 0, expected 1 to 5"),
        ("marc", {"text": "a", "stars": "five"}, "stars is 'five'"),
        ("marc", {"stars": 5}, 'no field "text"'),
        ("marc", {"text": "a"}, 'no field "label"'),
    ],
)
def test_a_row_that_is_not_of_the_task_is_an_error_that_names_it(
    task: str, row: dict, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        PRESETS[task].prepare(records({**row, "language": "en"}))
    assert str(caught.value).startswith("f.jsonl, row 1: ")
    assert message in str(caught.value)


def test_real_xnli_files_are_parallel_with_three_rows_a_premise(shared_data: Path) -> None:
    config = DataConfig.model_validate(
        {
            "task": "xnli",
            "train": "xnli/dev.{language}.jsonl.gz",
            "test": "xnli/test.{language}.jsonl.gz",
        }
    )
    corpus = load_corpus(config, ["en", "ko"], shared_data)
    assert corpus.is_parallel
    assert corpus.labels == ("entailment", "neutral", "contradiction")
    test = corpus.select(split="test", languages=["ko"]).frame
    assert len(test) == 5010
    assert set(test.groupby("group").size()) <= {3, 6}, (
        "a premise occurs three times; two premises may be the same text"
    )
    train = corpus.select(split="train").frame
    assert not set(train["item"]) & set(test["item"]), (
        "dev and test both number from 0, but are other sentences"
    )


def test_real_paws_x_files_lose_their_untranslated_items(shared_data: Path) -> None:
    config = DataConfig.model_validate(
        {
            "task": "paws-x",
            "train": "pawsx/dev.{language}.jsonl.gz",
            "test": "pawsx/test.{language}.jsonl.gz",
        }
    )
    with pytest.warns(SprachbundWarning) as warned:
        corpus = load_corpus(config, ["en", "ko", "zh"], shared_data)
    assert any("left out in all languages" in str(warning.message) for warning in warned)
    assert not corpus.frame["text"].str.fullmatch("NS|ns|WL").any()
    assert not corpus.frame["item"].isin(["2858", "2257"]).any()
