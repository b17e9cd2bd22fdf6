"""The study file: its keys, and the one clear line for each thing that can be wrong with it."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sprachbund.analysis.config import LANG2VEC, AnalysisConfig
from sprachbund.attribution import AttributionConfig
from sprachbund.data.config import DataConfig
from sprachbund.data.files import near_names
from sprachbund.data.languages import normalise
from sprachbund.decomposition.config import DecompositionConfig
from sprachbund.errors import ConfigurationError, SprachbundError
from sprachbund.finetuning import FinetuningConfig
from sprachbund.index.config import IndexConfig
from sprachbund.misconfiguration import first_problem, yaml_problem
from sprachbund.mixing.config import MixingConfig
from sprachbund.modeling import ModelConfig
from sprachbund.validation.config import RemovalConfig

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class LanguagesConfig(BaseModel):
    """The languages of a study, as BCP-47 tags."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[str, ...] = Field(min_length=1, description="Languages to fine-tune on, jointly.")
    test: tuple[str, ...] = Field(
        default=(),
        description="Languages whose predictions are attributed, those of training by default; "
        "one that is not trained on is tested zero-shot.",
    )

    @field_validator("train", "test")
    @classmethod
    def _normalised(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        normal = tuple(_tag(tag) for tag in tags)
        twice = sorted({tag for tag in normal if normal.count(tag) > 1})
        if twice:
            raise ValueError(f'language "{twice[0]}" is listed twice')
        return normal

    @model_validator(mode="before")
    @classmethod
    def _test_as_train(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and not value.get("test"):
            return {**value, "test": value.get("train", ())}
        return value

    @property
    def all(self) -> tuple[str, ...]:
        """Training languages, then the other test languages."""
        return tuple(dict.fromkeys(self.train + self.test))


def _tag(tag: str) -> str:
    try:
        return normalise(tag)
    except SprachbundError as error:
        raise ValueError(str(error)) from error


class StudyConfig(BaseModel):
    """Everything a study is made of. Only model, data and languages have no default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = Field(description="The pre-trained model to fine-tune.")
    data: DataConfig = Field(description="Where the labelled texts come from.")
    languages: LanguagesConfig = Field(description="Languages to train on and to test on.")
    train_per_language: int | dict[str, int] = Field(
        default=200,
        description="Training examples for each language: one number, or one for each language.",
    )
    test_per_language: int = Field(
        default=10,
        ge=1,
        description="Test examples of each language whose predictions are attributed.",
    )
    evaluation_per_language: int | None = Field(
        default=None,
        ge=1,
        description="Test examples of each language for accuracy; all by default.",
    )
    seed: int = Field(default=0, ge=0, description="Decides which examples are drawn.")
    finetuning: FinetuningConfig = FinetuningConfig()
    attribution: AttributionConfig = AttributionConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    index: IndexConfig = IndexConfig()
    decomposition: DecompositionConfig = DecompositionConfig()
    removal: RemovalConfig = RemovalConfig()
    mixing: MixingConfig = MixingConfig()

    @field_validator("train_per_language")
    @classmethod
    def _positive(cls, value: int | dict[str, int]) -> int | dict[str, int]:
        counts = value if isinstance(value, dict) else {"": value}
        for tag, count in counts.items():
            if count < 1:
                raise ValueError(
                    f"found {count}{f' for {tag}' if tag else ''}; expected at least 1"
                )
        return {_tag(tag): n for tag, n in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _counts_cover_the_languages(self) -> "StudyConfig":
        if isinstance(self.train_per_language, dict):
            given, wanted = set(self.train_per_language), set(self.languages.train)
            if given != wanted:
                odd = sorted(given ^ wanted)[0]
                state = "is no training language" if odd in given else "has no count"
                raise ValueError(f'train_per_language: "{odd}" {state}')
        return self

    @model_validator(mode="after")
    def _mixing_scales_training_languages(self) -> "StudyConfig":
        for language in self.mixing.languages:
            if language not in self.languages.train:
                raise ValueError(f'mixing.languages: "{language}" is no training language')
        return self

    @model_validator(mode="after")
    def _removal_checks_runs_of_the_study(self) -> "StudyConfig":
        for seed in self.removal.seeds:
            if seed not in self.finetuning.seeds:
                known = ", ".join(map(str, self.finetuning.seeds))
                raise ValueError(f"removal.seeds: {seed} is not one of finetuning.seeds, {known}")
        return self

    def anchored(self, base: Path) -> "StudyConfig":
        """The same study with absolute paths, those of the data starting at `base`, to be run from anywhere."""
        model, removal = self.model, self.removal
        if Path(model.path).is_dir():
            model = model.model_copy(update={"path": str(Path(model.path).resolve())})
        if removal.embedding_model and Path(removal.embedding_model).is_dir():
            path = str(Path(removal.embedding_model).resolve())
            removal = removal.model_copy(update={"embedding_model": path})
        data, update = self.data, dict[str, object]()
        for name in ("train", "test"):
            part = getattr(data, name)
            if part is not None and part.path:
                path = str((base / part.path).resolve())
                update[name] = part.model_copy(update={"path": path})
        if data.hub and (base / data.hub).is_dir():
            update["hub"] = str((base / data.hub).resolve())
        analysis = self.analysis
        if analysis.distances not in ("", LANG2VEC):
            path = str((base / analysis.distances).resolve())
            analysis = analysis.model_copy(update={"distances": path})
        if analysis.compare_with:
            path = str((base / analysis.compare_with).resolve())
            analysis = analysis.model_copy(update={"compare_with": path})
        return self.model_copy(
            update={
                "model": model,
                "data": data.model_copy(update=update),
                "analysis": analysis,
                "removal": removal,
            }
        )

    def as_yaml(self) -> str:
        """The study file with every default written out."""
        content = self.model_dump(mode="json", exclude_none=True)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def read_study(path: Path, overrides: Sequence[str] = ()) -> StudyConfig:
    """Read a study file; `overrides` are "key.sub=value" with values in YAML, as on the command line.

    `${NAME}` stands for an environment variable.

    Raises: ConfigurationError in one line that names the file, the key, what was found and what was expected.
    """
    content = _content(path)
    overridden = {_override(content, override): override for override in overrides}
    content = _expand(content, path)
    try:
        return StudyConfig.model_validate(content)
    except ValidationError as error:
        key, problem = first_problem(error, StudyConfig)
        given_by = next((text for name, text in overridden.items() if _meet(key, name)), None)
        place = f"{path}: {key}" if given_by is None else f"--set {given_by}"
        raise ConfigurationError(f"{place}{': ' if key or given_by else ''}{problem}") from error


class _Loader(yaml.SafeLoader):
    """YAML in which only true and false are booleans, so that `no` stays Norwegian; no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for position, (key, _) in enumerate(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value in keys[:position]:
                raise yaml.constructor.ConstructorError(
                    problem=f'the key "{key.value}" stands twice', problem_mark=key.start_mark
                )
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


def _content(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise ConfigurationError(
            f"{path}: a directory; give the study file in it, such as study.yaml"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such study file; {near_names(path)}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path}: not UTF-8 (at byte {error.start}); save the file as UTF-8"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    content = _parse(text, str(path))
    if not isinstance(content, dict):
        found = "nothing" if content is None else "a list" if isinstance(content, list) else "text"
        raise ConfigurationError(
            f"{path}: found {found}, expected keys such as model, data and languages"
        )
    return content


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark and not where.startswith("--set") else ""
        raise ConfigurationError(f"{where}{line}: not valid YAML: {yaml_problem(error)}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{where}: not valid YAML: {error}") from error


def _override(content: dict[str, Any], override: str) -> str:
    """Set one key within the content, and return it."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigurationError(f'--set {override}: expected key=value, such as "analysis.k=50"')
    *parents, last = key.split(".")
    target = content
    for parent in parents:
        inner = target.setdefault(parent, {})
        if isinstance(inner, str) and target is content and parent == "model":
            inner = {"path": inner}  # the short form of model
        if not isinstance(inner, dict):
            raise ConfigurationError(
                f"--set {override}: {parent} holds {inner!r}, not further keys"
            )
        target[parent] = inner
        target = inner
    target[last] = _parse(value, f"--set {override}")
    return key


def _meet(key: str, other: str) -> bool:
    """Whether one key is the other or a part of it."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _expand(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return {key: _expand(inner, path) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner, path) for inner in value]
    if not isinstance(value, str):
        return value
    for name in _VARIABLE.findall(value):
        if name not in os.environ:
            raise ConfigurationError(
                f'{path}: "{value}" needs the environment variable {name}, which is not set; '
                f"set it first: export {name}=..."
            )
    return _VARIABLE.sub(lambda match: os.environ[match[1]], value)
