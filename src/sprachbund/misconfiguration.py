"""What pydantic finds wrong with a study, in the words of someone who writes a study file."""

import types
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sprachbund.data.languages import quoted

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_too_short": "some text",
    "tuple_type": "a list, such as [a, b]",
    "list_type": "a list, such as [a, b]",
    "too_short": "at least one",
    "dict_type": "keys with values, such as {{a: 1}}",
    "invalid_key": "a key that is text; put it into quotation marks",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
}

_YAML = {
    "'<stream end>'": 'it ends within a [, { or "',
    "but got '{'": "a { within a list or mapping; put ${NAME} and {language} into quotation marks there",
    "\\t": "a tab; indent with blanks",
    "mapping values are not allowed": 'a second ":" in the line; put a value with ": " in it into quotation marks',
    "could not determine a constructor": "a tag that begins with !, which a study file cannot use",
    "found unhashable key": "a key that is a list or has keys; a key is a word",
}
_ENTRY = "entry "
_LIMITS = ("ge", "gt", "le", "lt")


def first_problem(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    """The key that is wrong ("" for the whole), and what is wrong with it: what was found, what was expected.

    `model` is what was validated.
    """
    problems = [(_descend(model, p["loc"]), p) for p in error.errors(include_url=False)]
    # A misspelt key often shows as a missing one too: the misspelling says more.
    (keys, _), _ = next((p for p in problems if p[1]["type"] == "extra_forbidden"), problems[0])
    # Of the branches of a union, the one that got furthest into the value is the one that was meant.
    (keys, owner), problem = max(
        (p for p in problems if p[0][0][: len(keys)] == keys), key=lambda p: len(p[0][0])
    )
    same = [other for (other_keys, _), other in problems if other_keys == keys]
    return ".".join(keys).replace(f".{_ENTRY}", f", {_ENTRY}"), _sentence(problem, same, owner)


def yaml_problem(error: yaml.MarkedYAMLError) -> str:
    """What is wrong with a YAML text, without the parser's own terms."""
    problem = str(error.problem)
    for part, sentence in _YAML.items():
        if part in problem:
            return sentence
    return problem


def _sentence(problem: ErrorDetails, same: Sequence[ErrorDetails], owner: Any) -> str:
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return "missing; the study needs it"
    if problem["type"] == "extra_forbidden":
        return f"no such key; {_meant(str(problem['loc'][-1]), _known_keys(owner), 'known keys:')}"
    found = f"found {_shown(problem['input'])}"
    if problem["type"] == "literal_error" and len(same) == 1:
        known = tuple(str(value) for value in _literals(problem))
        return f"{found}; {_meant(str(problem['input']), known, 'expected one of')}"
    if problem["type"] == "model_type":
        return f"{found}; expected keys, such as {', '.join(_known_keys(owner)[:3])}"
    expected = dict.fromkeys(_expected(p) for p in same)
    return f"{found}; expected {', or '.join(expected)}"


def _expected(problem: ErrorDetails) -> str:
    if problem["type"] == "literal_error":
        return " or ".join(_literals(problem))
    template = _EXPECTED.get(problem["type"])
    if template is None:
        return problem["msg"].removeprefix("Input should be ")
    limits = {
        name: f"{limit:g}" for name, limit in problem.get("ctx", {}).items() if name in _LIMITS
    }
    return template.format(**limits)


def _literals(problem: ErrorDetails) -> list[str]:
    """The values that pydantic lists as "'a', 'b' or 'c'"."""
    return [part.strip("' ") for part in problem["ctx"]["expected"].replace(" or ", ",").split(",")]


def _meant(given: str, known: Sequence[str], introduction: str) -> str:
    near = get_close_matches(given, known, n=1, cutoff=0.65)
    if near:
        return f"did you mean {near[0]}?"
    return f"{introduction} {', '.join(known)}"


def _shown(value: Any) -> str:
    """A value as it would stand in a study file."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping | list | tuple):
        text = yaml.safe_dump(
            value, default_flow_style=True, allow_unicode=True, width=1000
        ).strip()
        return text if len(text) <= 60 else f"{text[:60]}…"
    return str(value)


def _descend(model: Any, location: Sequence[int | str]) -> tuple[tuple[str, ...], Any]:
    """The keys of a location without pydantic's names for the branches of a union, and the type that holds the last.

    For a problem with a whole section that is the section's own type.
    """
    keys: list[str] = []
    owner = current = model
    for part in location:
        fields = getattr(current, "model_fields", None)
        if fields is not None:
            keys.append(str(part))
            owner, current = (
                current,
                _without_none(fields[part].annotation) if part in fields else None,
            )
            continue
        if get_origin(current) in (Union, types.UnionType):
            current = _branch(current, str(part))
            continue
        if isinstance(part, int):
            keys.append(f"{_ENTRY}{part + 1}")
        elif part != "[key]":
            keys.append(part)
        arguments = get_args(current)
        current = arguments[-1] if get_origin(current) is dict else next(iter(arguments), None)
    return tuple(keys), current if hasattr(current, "model_fields") else owner


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    kept = [branch for branch in get_args(annotation) if branch is not type(None)]
    return kept[0] if len(kept) == 1 else Union[tuple(kept)]  # noqa: UP007


def _branch(union: Any, name: str) -> Any:
    """The branch of a union that pydantic names, such as `dict[str,int]`."""
    branches = {str(getattr(b, "__name__", b)): b for b in get_args(union) if not get_origin(b)}
    return branches.get(name, next((b for b in get_args(union) if get_origin(b)), None))


def _known_keys(owner: Any) -> tuple[str, ...]:
    return tuple(getattr(owner, "model_fields", ()))
