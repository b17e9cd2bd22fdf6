"""The `data:` section: what contradicts itself is refused, and every key says what it is."""

import pytest
from pydantic import ValidationError

from sprachbund.data import DataConfig


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "give train and test (files), or hub, task or embedded"),
        ({"train": "a.jsonl"}, "test is missing"),
        ({"train": "a.jsonl", "test": "a.jsonl"}, "train and test read the same rows"),
        ({"train": {"path": "a.jsonl", "split": "x"}, "test": "b.jsonl"}, "split belongs with hub"),
        ({"train": {"where": {"a": 1}}, "test": "b.jsonl"}, "train: path is missing"),
        ({"hub": "x/y", "train": {"path": "a.jsonl"}}, "path belongs with files, but hub is given"),
        ({"embedded": "emoji", "hub": "x/y"}, "embedded stands alone, but hub is given too"),
        ({"embedded": "emojis"}, "Input should be 'emoji'"),
        ({"task": "xnlI"}, "Input should be 'xnli', 'paws-x' or 'marc'"),
        ({"task": "marc", "binary": True}, "binary belongs with task xnli"),
        ({"task": "xnli", "labels": ["a"]}, "labels are those of the task"),
        ({"train": "a.csv", "test": "b.csv", "subset": "en"}, "subset belongs with hub"),
        (
            {"train": "a.csv", "test": "b.csv", "columns": {"txt": "t"}},
            '"txt" is not a field of the corpus; fields: id,',
        ),
        ({"train": "a.csv", "test": "b.csv", "colums": {}}, "Extra inputs are not permitted"),
        (
            {"task": "xnli", "columns": {"text": "premise"}},
            "fields: id, premise, hypothesis, label, language",
        ),
    ],
)
def test_a_section_that_contradicts_itself_is_refused(section: dict, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DataConfig.model_validate(section)
    assert message in str(caught.value)


def test_every_key_of_the_section_is_described() -> None:
    schema = DataConfig.model_json_schema()
    for name, key in {
        **schema["properties"],
        **schema["$defs"]["SplitConfig"]["properties"],
    }.items():
        assert key.get("description"), f"data.{name} has no description"
