"""What a reader must know of a table: how many test examples, which runs, what the interval is."""

from collections.abc import Iterable

import xarray as xr

from sprachbund.analysis.answers import Runs
from sprachbund.analysis.table import spread_of


def caption(what: str, found: xr.Dataset, runs: Runs, chance: str) -> str:
    """A caption: what is shown, of how many test examples in how many clusters, seeds, interval.

    `chance` says what the level of chance is, or is empty where there is none.
    """
    parts = [f"{what}.", f"{_tests(found, runs)}; {seeds_of(runs)}."]
    if _has_interval(found):
        parts.append(
            "In brackets: 95 percent bootstrap-t intervals, clustered by item and group"
            + (", joined with the deviation between seeds." if _joins_seeds(found, runs) else ".")
        )
    if chance:
        parts.append(f"Chance: {chance}.")
    if found.attrs.get("left_out"):
        parts.append(f"Left out: {'; '.join(map(str, found.attrs['left_out']))}.")
    return " ".join(parts)


def guess(n_labels: int) -> str:
    """The accuracy of a guess among so many labels."""
    return f"{100 / n_labels:.1f} percent, a guess among {n_labels} labels"


def _tests(found: xr.Dataset, runs: Runs) -> str:
    dataset = next(iter(runs.values())).dataset
    if "n_test" not in found.coords:
        return f"{dataset.sizes['test']:,} test examples"
    counts = [int(n) for n in _with_a_value(found)]
    text = f"{sum(counts):,} test examples, {spread_of(counts) if counts else 'none'} a language"
    if "n_clusters" not in found:
        return text
    clusters = found["n_clusters"].where(found["n_clusters"] > 0).max(
        [dim for dim in found["n_clusters"].dims if dim != "test_language"]
    )  # fmt: skip
    known = [int(n) for n in clusters.dropna("test_language").values]
    return f"{text} in {spread_of(known)} clusters" if known else f"{text}, none with a value"


def _with_a_value(found: xr.Dataset) -> Iterable[int]:
    """The number of test examples of each language that the table says anything of: zero-shot ones may have no row."""
    first = found[next(iter(found.data_vars))]
    is_known = first.notnull().any([dim for dim in first.dims if dim != "test_language"])
    counts: Iterable[int] = found["n_test"].values[is_known.values].tolist()
    return counts


def seeds_of(runs: Iterable[int]) -> str:
    """ "3 seeds (0, 1, 2)", of runs by seed."""
    seeds = sorted(runs)
    return f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))})"


def _has_interval(found: xr.Dataset) -> bool:
    return any(str(name) == "low" or str(name).endswith("_low") for name in found) and (
        "null_low" not in found
    )


def _joins_seeds(found: xr.Dataset, runs: Runs) -> bool:
    return len(runs) > 1 and "seed_standard_deviation" in found
