"""Write docs/study-file.md, the reference of every key of a study file, from the models that read it.

python tools/write_reference.py          # write
python tools/write_reference.py --check  # exit 1 if what is there is not what would be written
"""

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sprachbund.configuration import StudyConfig

TARGET = Path(__file__).resolve().parents[1] / "docs" / "study-file.md"
HEAD = """# The study file

Every key of a study file, its type, its default and what it means. Only `model`, `data` and `languages` must be given.
`${NAME}` anywhere in a value stands for an environment variable; `--set key.sub=value` on the command line changes one.
Relative paths start at the folder of the study file. Written by `make docs` from the models that read the file.

```yaml
model: xlm-roberta-base            # a hub name or a local folder
data: {train: train.jsonl, test: test.jsonl}      # language, text, label; text_pair, item optional
languages: {train: [en, de, fr], test: [en, de, fr, ko]}
train_per_language: 200
test_per_language: 10
finetuning: {epochs: 3, learning_rate: 2.0e-5, batch_size: 16, seeds: [0]}
attribution: {method: tracin-cosine}
analysis: {k: 100}
mixing: {factors: [0.5, 2, 4], languages: [en], pairs: false}      # for `sprachbund mix`; see mixing.md
removal: {k: [50, 100], controls: [random, bm25]}      # for `sprachbund removal`; see removal.md
```
"""


def nested_models(annotation: Any) -> list[type[BaseModel]]:
    """The models that a type may hold, such as that of `SplitConfig | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        return [model for part in get_args(annotation) for model in nested_models(part)]
    return []


def type_name(annotation: Any) -> str:
    """A type as a reader of YAML would put it."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(parts[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(part) for part in parts if part is not types.NoneType)
    if origin in (tuple, list):
        return f"list of {type_name(parts[0])}"
    if origin is dict:
        return f"mapping to {type_name(parts[1])}"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names[annotation]


def default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, BaseModel):
        return ""
    if field.default in (None, "", (), [], {}):
        return ""
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{json.dumps(value)}`".replace('"', "")


def rows(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        inner = nested_models(field.annotation)
        kind = "section" if inner else type_name(field.annotation)
        text = field.description or (inner[0].__doc__ or "").strip().split("\n")[0]
        yield f"| `{key}` | {kind} | {default(field)} | {text} |"
        for nested in inner:
            yield from rows(nested, f"{key}.")


def page() -> str:
    table = "\n".join(rows(StudyConfig))
    return f"{HEAD}\n| key | type | default | meaning |\n|---|---|---|---|\n{table}\n"


def main() -> int:
    text = page()
    if "--check" in sys.argv[1:]:
        return int(not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    print(
        f"wrote {TARGET.relative_to(Path.cwd()) if TARGET.is_relative_to(Path.cwd()) else TARGET}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
