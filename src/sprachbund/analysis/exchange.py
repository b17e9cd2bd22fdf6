"""Which training examples exchange their languages where none matters, and which of them do so together."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from sprachbund.analysis.labels import language_codes

Codes = npt.NDArray[np.intp]
_Kind = tuple[int, str]  # language and group
_Place = tuple[Hashable, Hashable]  # stratum, and unit in it


class Units(NamedTuple):
    """What gets a language as one: a training example, or several that share something."""

    languages: list[str]
    code_N: Codes  # language of each training example
    unit_N: Codes  # unit of each training example
    code_U: Codes  # language of each unit
    stratum_U: Codes  # units of one stratum exchange their languages


def exchangeable(values: xr.DataArray) -> Units:
    """The units of the training examples of an array [..., train].

    By `train_language`, `train_item` and, where there is one, `train_group`: what shares something beyond the item,
    such as the hypotheses of one premise. The translation of a premise is the same text for all its hypotheses, so
    that what it does to one it does to the others.

    - The translations of one item exchange their languages, each for itself.
    - Items of one group that are in the same languages exchange them together: a unit is all of these items in one
      language.
    - Examples without translations exchange theirs with one another. Those of one group and language are a unit, and
      exchange with units of as many examples; if these are all in one language, they keep it.
    """
    code_N, languages = language_codes(values["train_language"])
    item_N = values["train_item"].values.tolist()
    has_groups = "train_group" in values.coords
    group_N = values["train_group"].values.tolist() if has_groups else [""] * len(item_N)
    kind_N = list(zip(code_N.tolist(), group_N, strict=True))
    alone: list[int] = []
    placed: dict[int, _Place] = {}
    for item, members in _by_item(item_N):
        if item == "" or len(members) == 1:
            alone += members
        else:
            placed |= _in_set(item, members, kind_N)
    placed |= _without_translations(alone, kind_N)
    unit_N, first_U = _numbered([placed[n] for n in range(len(item_N))])
    stratum_U, _ = _numbered([placed[n][0] for n in first_U])
    return Units(languages, code_N, unit_N, code_N[first_U], stratum_U)


def _by_item(item_N: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    members: defaultdict[str, list[int]] = defaultdict(list)
    for n, item in enumerate(item_N):
        members[item].append(n)
    return iter(members.items())


def _in_set(item: str, members: Sequence[int], kind_N: Sequence[_Kind]) -> dict[int, _Place]:
    ordered = sorted(members, key=lambda n: kind_N[n])
    kinds = tuple(kind_N[n] for n in ordered)
    stratum: Hashable = kinds if all(group for _, group in kinds) else item
    return {n: (stratum, place) for place, n in enumerate(ordered)}


def _without_translations(alone: Sequence[int], kind_N: Sequence[_Kind]) -> dict[int, _Place]:
    units: dict[int, Hashable] = {n: kind_N[n] if kind_N[n][1] else n for n in alone}
    sizes = Counter(units.values())
    return {n: (sizes[unit], unit) for n, unit in units.items()}


def _numbered(names: Sequence[Hashable]) -> tuple[Codes, list[int]]:
    """Numbers of the names in order of appearance, and where each appears first."""
    first: dict[Hashable, int] = {}
    for n, name in enumerate(names):
        first.setdefault(name, n)
    numbers = {name: number for number, name in enumerate(first)}
    return np.array([numbers[name] for name in names], dtype=np.intp), list(first.values())
