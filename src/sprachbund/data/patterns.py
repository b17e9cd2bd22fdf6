"""One source per language: a path or a subset's name with `{language}` in it, resolved for the languages asked for."""

import re
from collections.abc import Collection, Mapping, Sequence
from glob import escape
from pathlib import Path

from sprachbund.data.files import near_names
from sprachbund.data.languages import normalise
from sprachbund.data.records import listed
from sprachbund.errors import DataError

PLACEHOLDER = "{language}"


def has_language(pattern: str) -> bool:
    """Whether the pattern stands for one source per language."""
    return PLACEHOLDER in pattern


def by_language(pattern: str, names: Collection[str]) -> dict[str, list[str]]:
    """The names that match the pattern, by the normalised tag in place of `{language}` (`eng_Latn` under `en`).

    Names whose `{language}` part is not a language tag are left out.
    """
    first, second, *rest = (re.escape(piece) for piece in pattern.split(PLACEHOLDER))
    again = "".join(f"(?P=language){piece}" for piece in rest)
    regex = re.compile(rf"{first}(?P<language>[^/\\]+?){second}{again}")
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        match = regex.fullmatch(name)
        if match is None:
            continue
        try:
            found.setdefault(normalise(match["language"]), []).append(name)
        except DataError:
            continue
    return found


def files_by_language(pattern: Path) -> dict[str, list[str]]:
    """The files that match a pattern, as `by_language` sorts them.

    Raises: DataError if there is none.
    """
    fixed = next(part for part in pattern.parents if not has_language(str(part)))
    variable = pattern.relative_to(fixed).as_posix()
    wildcard = "*".join(escape(piece) for piece in variable.split(PLACEHOLDER))
    names = [path.relative_to(fixed).as_posix() for path in fixed.glob(wildcard)]
    found = by_language(variable, names)
    if not found:
        raise DataError(
            f"{pattern}: no file matches for any language; {near_names(fixed / wildcard)}"
        )
    return {language: [str(fixed / name) for name in names] for language, names in found.items()}


def choose(
    found: Mapping[str, Sequence[str]], languages: Sequence[str], pattern: str
) -> dict[str, str]:
    """The one match of each language asked for; languages without a match are left out.

    Raises: DataError if two matches are of the same language, or no language asked for has one.
    """
    chosen = {}
    for language in languages:
        matches = found.get(language, ())
        if len(matches) > 1:
            raise DataError(
                f"{pattern}: {listed(matches)} are all of language {language}; keep one"
            )
        if matches:
            chosen[language] = matches[0]
    if not chosen:
        raise DataError(
            f"{pattern}: nothing for {listed(languages)}; languages present: {listed(sorted(found))}"
        )
    return chosen
