"""Influences: the results of several runs of one study, which differ in the seed alone, asked as one."""

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import xarray as xr

from sprachbund.errors import InfluenceError, SprachbundWarning
from sprachbund.influence import Influence
from sprachbund.questions import Questions, Sign
from sprachbund.store.layout import EXAMPLE_COORDINATES

_NAME = re.compile(r"seed-(\d+)\.zarr")


class Influences(Questions):
    """Influence results by the seed of the run.

    Each question of `Influence` is asked of all runs: `mean` is over them, `seed_standard_deviation` says how far they
    differ (NaN for one run), intervals are for other test examples and other seeds, and `signs_agree` is false where
    runs lie on different sides of chance. `runs[seed]` is a single result, with its scores and examples.
    """

    def __init__(self, runs: Mapping[int, Influence]) -> None:
        """Take runs by seed.

        Raises: InfluenceError if there is none, or they are of several methods or of other examples.
        """
        if not runs:
            raise InfluenceError("there is no influence result: expected one for each seed")
        methods = {run.method: seed for seed, run in runs.items()}
        if len(methods) > 1:
            named = ", ".join(f"{method} (seed {seed})" for method, seed in methods.items())
            raise InfluenceError(f"runs of several methods cannot be averaged: {named}")
        self.runs = dict(sorted(runs.items()))
        _check_same_examples(self.runs)

    @classmethod
    def open(cls, folder: str | Path | Iterable[str | Path]) -> Self:
        """Open all `seed-*.zarr` of a folder, such as `influence` of a study, or these results by their paths.

        Seeds are read from the names. A SprachbundWarning names attributions that are not finished.
        Raises: InfluenceError if there is none, if a name has no seed or two have one, or if a result is damaged.
        """
        if not isinstance(folder, str | Path):
            return cls(_opened([Path(path) for path in folder]))
        root = Path(folder)
        paths = sorted(path for path in root.glob("seed-*.zarr") if _NAME.fullmatch(path.name))
        if not paths:
            found = "has no influence result (seed-*.zarr)" if root.is_dir() else "is not a folder"
            raise InfluenceError(
                f"{root}: {found}; expected the folder influence of a finished study"
            )
        if unfinished := sorted(path.name for path in root.glob("seed-*.zarr.partial")):
            warnings.warn(
                f"{root}: {', '.join(unfinished)} is not finished and left out; attribute again to go on",
                SprachbundWarning,
                stacklevel=2,
            )
        return cls(_opened(paths))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs, in order."""
        return tuple(self.runs)

    @property
    def _runs(self) -> dict[int, Influence]:
        return self.runs

    def overlap(self, other: Self, k: int = 100, sign: Sign = "proponents") -> xr.Dataset:
        """How far another study relies on the same examples of other languages, over the seeds of both.

        Returns: as `Influence.overlap`, and `seed_standard_deviation` of `jaccard`. For two runs of one study, see
        `Influence.overlap`.
        Raises: InfluenceError if `other` is a single run, or has none of the seeds.
        """
        from sprachbund.analysis import overlap

        if not isinstance(other, Influences):
            raise InfluenceError(
                "the other is a single run: compare it with one of these, runs[seed].overlap(other)"
            )
        shared = [seed for seed in self.runs if seed in other.runs]
        if not shared:
            ours, theirs = (", ".join(map(str, one.seeds)) for one in (self, other))
            raise InfluenceError(f"no seed is in both: {ours} here, {theirs} in the other")
        return overlap.overlap_over_seeds(
            {seed: overlap.overlap(self.runs[seed], other.runs[seed], k, sign) for seed in shared}
        )


def _check_same_examples(runs: Mapping[int, Influence]) -> None:
    """Chance, items and labels are taken from one run for all: they must be the same in each."""
    (seed, first), *others = runs.items()
    for other_seed, other in others:
        for name in ("train", "test", *EXAMPLE_COORDINATES):
            one, two = (run.dataset[name].values.tolist() for run in (first, other))
            if one == two:
                continue
            if len(one) != len(two):
                differing = f"{len(one):,} examples in {name} and {len(two):,}"
            else:
                at = next(i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b)
                differing = f"{name} {one[at]!r} and {two[at]!r} (example {at + 1})"
            raise InfluenceError(
                f"seeds {seed} and {other_seed} are not runs on the same examples: {differing}. Compare "
                "studies with `overlap`"
            )


def _opened(paths: Iterable[Path]) -> dict[int, Influence]:
    runs: dict[int, Influence] = {}
    for path in paths:
        named = _NAME.fullmatch(path.name)
        if named is None:
            raise InfluenceError(
                f"{path}: the name has no seed; expected seed-0.zarr, or give "
                "Influences({0: Influence.open(path), ...})"
            )
        seed = int(named[1])
        if seed in runs:
            raise InfluenceError(f"{path}: seed {seed} is given twice")
        runs[seed] = Influence.open(path)
    return runs
