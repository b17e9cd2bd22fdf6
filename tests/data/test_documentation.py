"""The page on data: its examples are valid and its table names every key."""

from pathlib import Path

import pytest
import yaml

from sprachbund.data import DataConfig, SplitConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"
EXAMPLES = [
    block.split("```")[0] for block in PAGE.read_text(encoding="utf-8").split("```yaml\n")[1:]
]


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_is_a_valid_section(example: str) -> None:
    assert DataConfig.model_validate(yaml.safe_load(example)["data"])


def test_every_key_is_in_the_table() -> None:
    keys = {*DataConfig.model_fields, *SplitConfig.model_fields}
    absent = [key for key in keys if f"`{key}`" not in PAGE.read_text(encoding="utf-8")]
    assert absent == []
