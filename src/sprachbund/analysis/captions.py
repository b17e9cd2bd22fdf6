"""What a reader must know of a table: how many test examples, which runs, what the interval is."""

import xarray as xr

from sprachbund.analysis.answers import Runs
from sprachbund.analysis.table import spread_of


def caption(what: str, found: xr.Dataset, runs: Runs, chance: str) -> str:
    """A caption: what is shown, of how many test examples in how many clusters, seeds, interval.

    `chance` says what the level of chance is, or is empty where there is none.
    """
    parts = [f"{what}.", f"{_tests(found, runs)}; {_seeds(runs)}."]
    if _has_interval(found):
        parts.append(
            "In brackets: 95 percent bootstrap-t intervals, clustered by item and group"
            + (", joined with the deviation between seeds." if _joins_seeds(found, runs) else ".")
        )
    if chance:
        parts.append(f"Chance: {chance}.")
    return " ".join(parts)


def _tests(found: xr.Dataset, runs: Runs) -> str:
    dataset = next(iter(runs.values())).dataset
    total = f"{dataset.sizes['test']:,} test examples"
    if "n_test" not in found.coords:
        return total
    text = f"{total}, {spread_of(found['n_test'].values.ravel().tolist())} a language"
    if "n_clusters" not in found:
        return text
    clusters = found["n_clusters"].where(found["n_clusters"] > 0).max(
        [dim for dim in found["n_clusters"].dims if dim != "test_language"]
    )  # fmt: skip
    known = [int(n) for n in clusters.dropna("test_language").values]
    return f"{text} in {spread_of(known)} clusters" if known else f"{text}, none with a value"


def _seeds(runs: Runs) -> str:
    seeds = ", ".join(str(seed) for seed in sorted(runs))
    return f"{len(runs)} seeds ({seeds})" if len(runs) > 1 else f"1 seed ({seeds})"


def _has_interval(found: xr.Dataset) -> bool:
    return any(str(name) == "low" or str(name).endswith("_low") for name in found) and (
        "null_low" not in found
    )


def _joins_seeds(found: xr.Dataset, runs: Runs) -> bool:
    return len(runs) > 1 and "signs_agree" in found
