"""Distances between languages: from a table of the user's, from URIEL, and by script.

URIEL (Littell et al. 2017, CC BY-SA 4.0) describes languages by features: typology (with the gaps
predicted from near languages), family membership, and distances from fixed points on Earth. It
comes from a file or, where it is installed, from the package lang2vec.
"""

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any

import langcodes
import numpy as np
import pandas as pd
import xarray as xr
from langcodes.data_dicts import NORMALIZED_MACROLANGUAGES

from sprachbund.data.languages import describe, normalise
from sprachbund.errors import DataError

_PAIR = ("language", "other_language")


@dataclass(frozen=True)
class Features:
    """What URIEL says of a language.

    `typology` are features from 0 to 1 in one order for all languages, `families` the names of the
    family and its branches, `places` great-circle distances to fixed points, 1 to the antipode.
    """

    typology: Sequence[float]
    families: frozenset[str]
    places: Sequence[float]


def read_distances(path: Path, tags: Iterable[str]) -> xr.Dataset:
    """Read the distances between these languages: a CSV table, or URIEL features as JSON (.json.gz).

    The table has the columns `language`, `other_language` and one for each kind of distance, one
    row for a pair (or both orders of it, alike). The JSON is {"languages": {code: {"knn": "0110..",
    "family": [...], "geo": [...]}}, "corpus_code_to_iso": {tag: code}}.

    Returns: one variable for each kind, [language, other_language]; a language that the file does
    not know is left out, NaN is a pair that it does not know.
    Raises: DataError if the file cannot be read, or gives a pair two distances.
    """
    wanted = list(dict.fromkeys(tags))
    try:
        if path.suffix.casefold() == ".csv":
            return _from_table(pd.read_csv(path, keep_default_na=False), wanted, path)
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as distances: {error}") from error
    return feature_distances(_of_json(content, wanted, path))


def lang2vec_distances(tags: Iterable[str]) -> xr.Dataset:
    """URIEL distances by the package lang2vec, which is not installed with this one.

    Returns: as `feature_distances`. Raises: DataError if lang2vec is not installed or unusable.
    """
    try:
        lang2vec = import_module("lang2vec.lang2vec")
    except ImportError as error:
        raise DataError(
            f"lang2vec cannot be imported ({error}): pip install lang2vec 'setuptools<81', or name "
            "a file of distances"
        ) from error
    known = lang2vec.available_uriel_languages()
    codes = {tag: code for tag in tags for code in _iso_codes(tag) if code in known}
    if not codes:
        return feature_distances({})
    sets = {
        name: lang2vec.get_features(list(codes.values()), name, header=True)
        for name in ("syntax_knn+phonology_knn+inventory_knn", "fam", "geo")
    }
    typology, families, places = sets.values()
    names = families["CODE"]
    return feature_distances(
        {
            tag: Features(
                typology[code],
                frozenset(n for n, is_in in zip(names, families[code], strict=True) if is_in == 1),
                places[code],
            )
            for tag, code in codes.items()
        }
    )


def feature_distances(features: Mapping[str, Features]) -> xr.Dataset:
    """Typological, genetic and geographic distance between languages from their features.

    `typological`: 1 - cosine of the typological features. `genetic`: 1 - the cosine of the
    memberships in families and branches, 0 for the same branches and 1 for no common family.
    `geographic`: the largest difference between the two languages' distances to a fixed point,
    which is the great-circle distance if a point lies on their great circle, and never more;
    1 for antipodes.

    Returns: [language, other_language], all symmetric with 0 for a language with itself.
    """
    tags = list(features)
    names = sorted({name for found in features.values() for name in found.families})
    family = [[float(name in features[tag].families) for name in names] for tag in tags]
    places = np.array([features[tag].places for tag in tags], dtype=np.float64)
    distances = {
        "typological": _cosine_distances([features[tag].typology for tag in tags]),
        "genetic": _cosine_distances(family),
        "geographic": np.array([np.abs(places - row).max(axis=1) for row in places]),
    }
    n = len(tags)
    return xr.Dataset(
        {name: (_PAIR, np.reshape(values, (n, n))) for name, values in distances.items()},
        coords=dict.fromkeys(_PAIR, tags),
    )


def script_distances(tags: Iterable[str]) -> xr.DataArray:
    """0 for two languages in the same script, 1 for two scripts; NaN where one is not known.

    Returns: [language, other_language]. Raises: DataError if a tag is malformed.
    """
    names = list(dict.fromkeys(tags))
    scripts = np.array([describe(name).script for name in names], dtype=object)
    differ = np.not_equal.outer(scripts, scripts).astype(np.float64)
    known = scripts != ""
    values = np.where(np.logical_and.outer(known, known), differ, np.nan)
    return xr.DataArray(values, dims=_PAIR, coords=dict.fromkeys(_PAIR, names), name="script")


def _cosine_distances(rows: Sequence[Sequence[float]]) -> Any:
    vectors = np.array(rows, dtype=np.float64).reshape(len(rows), -1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.full_like(vectors, np.nan), where=lengths > 0)
    distances = np.clip(1.0 - units @ units.T, 0.0, 1.0)
    np.fill_diagonal(distances, 0.0)
    return distances


def _from_table(table: pd.DataFrame, wanted: Sequence[str], path: Path) -> xr.Dataset:
    kinds = [column for column in table.columns if column not in _PAIR]
    if not kinds or not set(_PAIR) <= set(table.columns):
        raise DataError(
            f"{path}: has the columns {', '.join(table.columns)}; expected language, "
            "other_language and one for each kind of distance"
        )
    for column in _PAIR:
        table[column] = [normalise(str(tag)) for tag in table[column]]
    present = set(table["language"]) | set(table["other_language"])
    names = [tag for tag in wanted if normalise(tag) in present]
    values = {kind: _filled(table, kind, names, path) for kind in kinds}
    return xr.Dataset(
        {kind: (_PAIR, found) for kind, found in values.items()},
        coords=dict.fromkeys(_PAIR, names),
    )


def _filled(table: pd.DataFrame, kind: str, names: Sequence[str], path: Path) -> Any:
    given: dict[frozenset[str], float] = {}
    rows = zip(*(table[column] for column in (*_PAIR, kind)), strict=True)
    for line, (one, other, text) in enumerate(rows, start=2):
        if str(text) == "":
            continue
        value, pair = _number(text), frozenset((one, other))
        if value is None or given.setdefault(pair, value) != value:
            raise DataError(
                f"{path}, row {line}: the {kind} distance of {one} and {other} is {text}; expected "
                "a number, the same in both orders of a pair"
            )
    result = np.zeros((len(names), len(names)))
    for (i, one), (j, other) in combinations(enumerate(names), 2):
        pair = frozenset((normalise(one), normalise(other)))
        result[i, j] = result[j, i] = given.get(pair, np.nan)
    return result


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _of_json(content: Any, wanted: Sequence[str], path: Path) -> dict[str, Features]:
    try:
        found = content["languages"]
        codes = _codes(content["corpus_code_to_iso"], found, wanted)
        chosen = {tag: found[codes[tag]] for tag in wanted if codes.get(tag) in found}
        return {
            tag: Features(
                [float(digit) for digit in entry["knn"]],
                frozenset(entry["family"]),
                entry["geo"],
            )
            for tag, entry in chosen.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: does not hold URIEL features as expected: {error!r}") from error


def _codes(
    by_tag: Mapping[str, str], known: Iterable[str], wanted: Sequence[str]
) -> dict[str, str]:
    """The file's code for each tag, which the file may spell otherwise (`eng_Latn`), or by its ISO code alone."""
    found = {tag: by_tag[tag] for tag in wanted if tag in by_tag}
    if len(found) < len(wanted):
        for spelling, code in by_tag.items():
            with suppress(DataError):  # a code of the file's own
                found.setdefault(normalise(spelling), code)
    present = set(known)
    for tag in wanted:
        with suppress(ValueError, LookupError):  # a tag of the user's own
            for code in (code for code in _iso_codes(tag) if code in present):
                found.setdefault(tag, code)
    return found


def _iso_codes(tag: str) -> list[str]:
    """ISO 639-3 codes for a tag: its own and, of a macrolanguage, those of predominant members."""
    language = str(langcodes.Language.get(tag).language)
    members = [member for member, macro in NORMALIZED_MACROLANGUAGES.items() if macro == language]
    return [langcodes.Language.get(language).to_alpha3(), *members]
