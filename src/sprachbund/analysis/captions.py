"""What a reader must know of a table: how many test examples, which runs, what the interval is."""

from collections.abc import Iterable, Sequence

import pandas as pd
import xarray as xr

from sprachbund.analysis.answers import Runs
from sprachbund.analysis.table import spread_of
from sprachbund.influence import Influence


def caption(
    what: str,
    found: xr.Dataset,
    runs: Runs,
    chance: str,
    of: Iterable[Influence] | None = None,
) -> str:
    """A caption: what is shown, of how many test examples in how many clusters, what was ranked how, seeds, interval.

    `chance` says what the level of chance is, or is empty where there is none; `of` are the results, where these are
    more than `runs`.
    """
    parts = [
        f"{what}.",
        f"{_tests(found, runs)}; {_ranked(runs.values() if of is None else of)}; {seeds_of(runs)}.",
    ]
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


def guess(labels: Sequence[str], evaluated: xr.DataArray | None = None) -> str:
    """The accuracy of a guess among the labels of a model, and of always giving one of them.

    `evaluated` [test], with `test_language`, are the labels of the examples that the accuracy is of, where they are
    known: one label always given is right as often as the most frequent one of a language occurs.
    """
    text = f"{100 / len(labels):.1f} percent, a guess among {len(labels)} labels"
    if evaluated is None:
        return text
    by_language = pd.Series(evaluated.values).groupby(evaluated["test_language"].values)
    percent = [100 * float(part.value_counts(normalize=True).max()) for _, part in by_language]
    return f"{text}; {spread_of(percent, 1)} percent, always the most frequent label of a language"


def tests_of(found: xr.Dataset) -> str:
    """ "16 test examples, 4 to 12 a language in 4 to 12 clusters", of what has `n_test` [test_language]."""
    counts = [int(n) for n in _with_a_value(found)]
    text = f"{sum(counts):,} test examples, {spread_of(counts) if counts else 'none'} a language"
    if "n_clusters" not in found:
        return text
    clusters = found["n_clusters"].where(found["n_clusters"] > 0).max(
        [dim for dim in found["n_clusters"].dims if dim != "test_language"]
    )  # fmt: skip
    known = [int(n) for n in clusters.dropna("test_language").values]
    return f"{text} in {spread_of(known)} clusters" if known else f"{text}, none with a value"


def _tests(found: xr.Dataset, runs: Runs) -> str:
    if "n_test" in found.coords:
        return tests_of(found)
    return f"{next(iter(runs.values())).dataset.sizes['test']:,} test examples"


def _ranked(influences: Iterable[Influence]) -> str:
    """ "1,000 training examples by tracin-cosine at 3 checkpoints": without the starting point, which has no total."""
    known = [*influences]
    examples = spread_of([influence.dataset.sizes["train"] for influence in known])
    trained = [sum(step > 0 for step in influence.checkpoints) for influence in known]
    methods = " and ".join(sorted({influence.method for influence in known}))
    return f"{examples} training examples by {methods} at {spread_of(trained)} checkpoints"


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
