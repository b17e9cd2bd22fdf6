"""Read a study file: YAML, environment variables, `--set` overrides, and one clear line for what is wrong with it."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sprachbund.configuration import StudyConfig
from sprachbund.data.files import near_names
from sprachbund.errors import ConfigurationError
from sprachbund.misconfiguration import first_problem, yaml_problem

_VARIABLE = re.compile(r"\$\{(\w+)\}")


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
