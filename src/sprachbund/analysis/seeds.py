"""Several fine-tuning runs, alike but for the seed, as one result with its spread."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import t as student_t

from sprachbund.analysis.labels import ALL, as_one
from sprachbund.analysis.measures import by_test_language
from sprachbund.analysis.statistics import (
    PERCENT,
    UNBOUNDED,
    mean_intervals,
    ratio_intervals,
    standard_error,
)
from sprachbund.errors import InfluenceError, SprachbundWarning

_CELLS_NAMED = 10
_LANGUAGES = ("test_language", "train_language")
_ROUNDING = 1e-9
# With two, what is left of their deviation would too often be 0, and the interval blind to other seeds.
_ENOUGH_RUNS = 3


def over_seeds(results: Mapping[int, xr.DataArray]) -> xr.Dataset:
    """Mean and standard deviation over runs of the same measure, cell by cell.

    Returns: `mean` and `seed_standard_deviation` (n - 1; NaN for a single run), with the dims of
    the measure; attribute `n_seeds`.
    Raises: InfluenceError if the runs do not measure the same cells.
    """
    check_same_cells(results)
    seeds = sorted(results)
    first = results[seeds[0]]
    values = np.stack([results[seed].values for seed in seeds])
    spread = values.std(axis=0, ddof=1) if len(seeds) > 1 else np.full(values.shape[1:], np.nan)
    return xr.Dataset(
        {
            "mean": (first.dims, values.mean(axis=0)),
            "seed_standard_deviation": (first.dims, spread),
        },
        coords=first.coords,
        attrs={**first.attrs, "n_seeds": len(seeds)},
    )


def average(results: Mapping[int, xr.DataArray]) -> xr.DataArray:
    """Mean over the runs, cell by cell, of measures that `check_same_cells` lets pass; NaN in one run is NaN."""
    first = next(iter(results.values()))
    return first.copy(data=np.mean([found.values for found in results.values()], axis=0))


def combine_seeds(
    values: Mapping[int, xr.DataArray],
    chance: xr.DataArray | float,
    bounds: tuple[float, float] = UNBOUNDED,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Runs of one study as one estimate, with an interval for other test examples and other seeds.

    `values`, by the seed of the run: the same measure [..., test, ...] of the same test examples.
    A test example that is NaN in one run is left out of all. `chance` is the value without
    effect (`expected_share` for shares, 0 for mean influence): a SprachbundWarning names the cells
    where one run lies above it and another below.

    The interval joins two independent errors as Zou and Donner (2008) do: the bootstrap-t interval
    of the mean over runs (which test examples), and Student's t with n - 1 degrees of freedom for
    the deviation between runs, less the part of it that is due to the test examples (the
    interaction of a two-way analysis of variance). In simulations with 25 clusters, 95 percent
    intervals cover in 94 to 98 percent for three and five runs, whatever the shares of the two
    errors. Two runs say little of a deviation, and nothing of what part of it is the test examples': nothing is taken
    off, and intervals are wide, 95 to 99 percent. One run says nothing: the interval is that of `mean_intervals`.

    Returns: `mean`, `seed_standard_deviation` (n - 1), `low`, `high`, `n_clusters` and
    `signs_agree`, with `test_language` in the place of `test`; attribute `n_seeds`.
    Raises: InfluenceError if the runs do not measure the same test examples or cells.
    """
    check_same_cells(values)
    seeds = sorted(values)
    runs = xr.concat(
        [values[s] for s in seeds], dim="run", join="exact", coords="minimal", compat="override"
    )
    runs = runs.where(runs.notnull().all("run")).transpose("run", *values[seeds[0]].dims)
    average = runs.mean("run", skipna=False).assign_attrs(values[seeds[0]].attrs)
    intervals = mean_intervals(average, bounds, level=level, seed=seed)
    means = by_test_language(runs)
    radius = _radius(runs, means, level)
    agree = signs_agree(means, chance).transpose(*intervals["mean"].dims)
    _warn_of_signs(agree, seeds)
    mean = intervals["mean"]
    return intervals.assign(
        low=(mean - np.hypot(mean - intervals["low"], radius)).clip(*bounds),
        high=(mean + np.hypot(intervals["high"] - mean, radius)).clip(*bounds),
        seed_standard_deviation=means.std("run", ddof=1) if len(seeds) > 1 else mean * np.nan,
        signs_agree=agree.drop_vars("expected_percent", errors="ignore"),
    ).assign_attrs(n_seeds=len(seeds))


def combine_each_and_all(
    values: Mapping[int, xr.DataArray],
    chance: float,
    bounds: tuple[float, float] = UNBOUNDED,
    *,
    level: float = 0.95,
) -> xr.Dataset:
    """`combine_seeds` by test language, and, as the last language "all", of all test examples as one."""
    each = combine_seeds(values, chance, bounds, level=level)
    with quiet_about_signs():
        together = combine_seeds(
            {seed: as_one(found) for seed, found in values.items()}, chance, bounds, level=level
        )
    return xr.concat([each, together], dim="test_language", combine_attrs="override")


def limits_where_any_differs(
    found: xr.Dataset, differences: Mapping[int, xr.DataArray]
) -> xr.Dataset:
    """`found`, from these differences, without `low` and `high` where no test example differs in any run.

    The bounds of a difference alone would give an interval there, of some 30 points either way.
    """
    first = next(iter(differences.values()))
    sizes = [np.abs(difference.values) for difference in differences.values()]
    differs = (by_test_language(first.copy(data=np.sum(sizes, axis=0))) > 0).reset_coords(drop=True)
    if ALL in found["test_language"].values:
        together = differs.any("test_language").expand_dims(test_language=[ALL])
        differs = xr.concat([differs, together], dim="test_language")
    return found.assign({name: found[name].where(differs) for name in ("low", "high")})


def join_seeds(
    interval: xr.Dataset,
    numerator: xr.DataArray,
    denominator: xr.DataArray,
    bounds: tuple[float, float] = UNBOUNDED,
    *,
    level: float = 0.95,
) -> xr.Dataset:
    """The interval of a ratio of means over runs, widened by the deviation between the runs.

    `numerator` and `denominator` are [run, ..., test, ...], `interval` what `ratio_intervals` finds for their means
    over the runs. As in `combine_seeds`, for the ratio's linear approximation in each run: its value plus each test
    example's residual over the mean denominator.

    Returns: `interval` with other `low` and `high`; the same for a single run.
    """
    bottom = by_test_language(denominator)
    ratio = by_test_language(numerator) / bottom.where(bottom > 0)
    language = denominator["test_language"]
    of_example = ratio.sel(test_language=language), bottom.sel(test_language=language)
    values = of_example[0] + (numerator - of_example[0] * denominator) / of_example[1]
    radius = _radius(values.transpose(*numerator.dims), ratio, level)
    mean = interval["mean"]
    return interval.assign(
        low=(mean - np.hypot(mean - interval["low"], radius)).clip(*bounds),
        high=(mean + np.hypot(interval["high"] - mean, radius)).clip(*bounds),
    )


def percentage_over_runs(
    part: xr.DataArray, whole: xr.DataArray, bounds: tuple[float, float] = PERCENT
) -> xr.Dataset:
    """What percentage of the `whole` the `part` is, in the mean of the runs, with the interval of `join_seeds`.

    Both are counts [run, ..., test, ...]; a language's test examples count together, each as much as its `whole`.
    """
    percent = 100.0 * part
    means = percent.mean("run", skipna=False), whole.mean("run", skipna=False)
    return join_seeds(ratio_intervals(means[0], means[1], bounds), percent, whole, bounds)


@contextmanager
def quiet_about_signs() -> Iterator[None]:
    """Without the warning, where the sign of an effect is not asked or a column of its own says it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "seeds .* disagree on the sign", SprachbundWarning)
        yield


def _radius(runs: xr.DataArray, means: xr.DataArray, level: float) -> xr.DataArray | float:
    """Half the width of the interval for the mean over other seeds, test examples held fixed."""
    n_runs = runs.sizes["run"]
    if n_runs == 1:
        return 0.0
    between = means.var("run", ddof=1)
    if n_runs >= _ENOUGH_RUNS:
        interaction = standard_error(runs - runs.mean("run", skipna=False)) ** 2
        # Deviations from the mean over n runs vary by (n - 1) / n of what the runs do.
        between = between - interaction.mean("run") * n_runs / (n_runs - 1)
    quantile = float(student_t.ppf((1 + level) / 2, n_runs - 1))
    return quantile * (between.clip(min=0.0) / n_runs) ** 0.5


def signs_agree(means: xr.DataArray, chance: xr.DataArray | float) -> xr.DataArray:
    """Whether no run lies above chance where another lies below it, cell by cell of `means` [run, ...]."""
    effects = means - chance
    rounding = _ROUNDING * np.abs(means)
    return ~((effects > rounding).any("run") & (effects < -rounding).any("run"))


def check_same_cells(results: Mapping[int, xr.DataArray]) -> None:
    """Raises: InfluenceError if the runs do not measure the same cells in the same order."""
    if not results:
        raise InfluenceError("there is no run to average")
    seeds = sorted(results)
    first = results[seeds[0]]
    for seed in seeds[1:]:
        languages = [name for name in _LANGUAGES if name in first.coords]
        for name in (*first.dims, *(name for name in languages if name not in first.dims)):
            expected, found = (r[name].values.tolist() for r in (first, results[seed]))
            if expected != found:
                shown, other = _from_difference(expected, found)
                raise InfluenceError(
                    f"seeds {seeds[0]} and {seed} cannot be averaged: {name} is {shown} in the "
                    f"one, {other} in the other"
                )


def _from_difference(first: list[Any], second: list[Any]) -> tuple[list[Any], list[Any]]:
    """Both lists where they begin to differ, if they are too long to be shown whole."""
    if max(len(first), len(second)) <= _CELLS_NAMED:
        return first, second
    same = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    )
    return first[same : same + 1], second[same : same + 1]


def _warn_of_signs(agree: xr.DataArray, seeds: list[int]) -> None:
    cells = np.argwhere(~agree.values)
    if not len(cells):
        return
    names = [
        " ".join(f"{dim}={agree[dim].values[i]}" for dim, i in zip(agree.dims, cell, strict=True))
        for cell in cells[:_CELLS_NAMED]
    ]
    more = f", and {len(cells) - _CELLS_NAMED} more" if len(cells) > _CELLS_NAMED else ""
    warnings.warn(
        f"seeds {', '.join(map(str, seeds))} disagree on the sign of the effect in {len(cells)} of "
        f"{agree.size} cells: {', '.join(names)}{more}",
        SprachbundWarning,
        stacklevel=3,
    )
