"""How far a mean over test examples could be off: cluster-robust errors and intervals.

Values of single test examples go in, [..., test, ...]; one mean with its interval for each test
language comes out. What varies is which test examples were drawn. The training set and the run
are held fixed: for other labels of the training examples see `permutation`, for other runs `seeds`.

To average over several languages, or all, give their test examples one `test_language`:
`values.assign_coords(test_language=("test", ["all"] * values.sizes["test"]))`.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sprachbund.analysis.bounded import hoeffding_limits
from sprachbund.analysis.labels import in_order, language_coords, language_dims

Array = npt.NDArray[np.float64]
UNBOUNDED = (-np.inf, np.inf)
PERCENT = (0.0, 100.0)
POINTS = (-100.0, 100.0)
"""Of a difference of percentages."""
_CELLS_AT_ONCE = 512
# What is below this fraction of the largest value is rounding, not spread.
_ROUNDING = 1e-9


def example_clusters(values: xr.DataArray) -> npt.NDArray[np.intp]:
    """Code of each test example's cluster, [test]: what is drawn together.

    Test examples that share a `test_group` (XNLI repeats each premise) or a `test_item` (the
    translations of one content) are not independent, whatever their languages, and are in one
    cluster; so are those linked through others. An example with neither is a cluster of its own.
    """
    n_test = values.sizes["test"]
    rows, names = [], []
    for column in ("test_group", "test_item"):
        found = values[column].values.astype(object)
        (given,) = np.nonzero(found != "")
        rows.append(given)
        names += [f"{column} {name}" for name in found[given]]
    codes, uniques = pd.factorize(np.array(names, dtype=object))
    edges = (np.ones(len(codes)), (np.concatenate(rows), n_test + codes))
    size = n_test + len(uniques)
    _, clusters = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    return pd.factorize(clusters[:n_test])[0]


def mean_intervals(
    values: xr.DataArray,
    bounds: tuple[float, float] = UNBOUNDED,
    *,
    level: float = 0.95,
    n_resamples: int = 1999,
    seed: int = 0,
) -> xr.Dataset:
    """Mean over the test examples of each language, with an interval; see `ratio_intervals`.

    `values` is [..., test, ...] with the coordinates of the test examples; NaN are left out.
    `bounds` are the least and the greatest value possible, `PERCENT` for a percentage.

    Returns: `mean`, `low`, `high`, `n_clusters`, with `test_language` in the place of `test`.
    """
    return ratio_intervals(
        values,
        xr.ones_like(values),
        bounds,
        level=level,
        n_resamples=n_resamples,
        seed=seed,
    )


def ratio_intervals(
    numerator: xr.DataArray,
    denominator: xr.DataArray,
    bounds: tuple[float, float] = UNBOUNDED,
    *,
    level: float = 0.95,
    n_resamples: int = 1999,
    seed: int = 0,
) -> xr.Dataset:
    """Sum over sum, over the test examples of each language, with a bootstrap-t interval.

    Clusters of test examples (`example_clusters`) are drawn with replacement, the same for all
    languages and cells, and each resample is studentised by its own cluster-robust error (Efron
    and Tibshirani 1993, section 12.5; for clusters, Cameron, Gelbach and Miller 2008). The more
    usual intervals are too short for the few clusters of a study. For 25 of them, where 95 are
    due: percentile 93.5 for normal values and 89.6 for skewed shares (a beta-binomial with mean
    10 percent), BCa 93.4 and 92.5, cluster-robust t 95.2 and 89.8, bootstrap-t 95.5 and 96.7.
    It too is short where single clusters dominate the mean: 93 for Student's t with 3 degrees of
    freedom, 91 for a lognormal.

    Both arrays are [..., test, ...] with the same dims; what is NaN in either is left out. Where a
    few clusters make all of the mean, many resamples have none of them, and with three clusters or
    fewer always: then the resamples set no limit. With finite `bounds` no limit lies beyond what
    holds for any distribution between them (`hoeffding_limits`).

    Returns: `mean`, `low`, `high` and `n_clusters` (those with a denominator above zero), with
    `test_language` in the place of `test`. Limits are NaN where fewer than two clusters count, or
    without bounds all have the same value: then nothing tells how far the mean could be off.
    """
    clusters = example_clusters(numerator)
    n_clusters = int(clusters.max()) + 1
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=n_resamples)
    draws_RG = draws.astype(np.float64)

    def interval(sums: _Sums) -> list[Array]:
        mean, low, high = _bootstrap_t(sums, draws_RG[:, sums.clusters], level)
        least, greatest = _possible(mean, sums.bottom_GC, bounds, level)
        known = [np.fmax(low, least), np.fmin(high, greatest)]  # of two, the one that is known
        limits = np.clip(known, *bounds)
        return [mean, *limits, (sums.bottom_GC > 0).sum(axis=0)]

    found = _by_language(numerator, denominator, clusters, interval)
    variables = dict(zip(("mean", "low", "high", "n_clusters"), found, strict=True))
    return _labelled(variables, numerator).assign_attrs(level=level, n_resamples=n_resamples)


def standard_error(values: xr.DataArray) -> xr.DataArray:
    """Cluster-robust standard error of the mean over the test examples of each language.

    Liang and Zeger (1986) with the correction G / (G - 1) for G clusters; NaN are left out.

    Returns: `test_language` in the place of `test`; NaN for fewer than two clusters.
    """

    def error(sums: _Sums) -> list[Array]:
        return [_error(_deviations(sums), sums.bottom_GC)]

    (found,) = _by_language(values, xr.ones_like(values), example_clusters(values), error)
    return _labelled({"standard_error": found}, values)["standard_error"]


class _Sums(NamedTuple):
    """Numerator and denominator of one test language, summed over each of its clusters."""

    top_GC: Array
    bottom_GC: Array
    clusters: npt.NDArray[np.intp]  # [G], their codes


def _by_language(
    numerator: xr.DataArray,
    denominator: xr.DataArray,
    clusters: npt.NDArray[np.intp],
    function: Callable[[_Sums], list[Array]],
) -> list[Array]:
    """Apply `function` to each test language; return its results with the shape of the arrays."""
    axis = numerator.dims.index("test")
    known = numerator.notnull() & denominator.notnull()
    top, bottom = (
        np.moveaxis(array.where(known, 0.0).transpose(*numerator.dims).values, axis, 0)
        for array in (numerator.astype(np.float64), denominator.astype(np.float64))
    )
    languages = numerator["test_language"].values.astype(object)
    results: list[list[Array]] = []
    for language in in_order(languages):
        (rows,) = np.nonzero(languages == language)
        top_MC, bottom_MC = (array[rows].reshape(len(rows), -1) for array in (top, bottom))
        sums = _sums(top_MC, bottom_MC, clusters[rows])
        parts = [function(part) for part in _blocks(sums)]
        results.append(
            [np.concatenate(part).reshape(top.shape[1:]) for part in zip(*parts, strict=True)]
        )
    return [np.stack(result, axis=axis) for result in zip(*results, strict=True)]


def _sums(top_MC: Array, bottom_MC: Array, clusters_M: npt.NDArray[np.intp]) -> _Sums:
    codes, clusters = pd.factorize(clusters_M)
    member_GM = coo_array((np.ones(len(codes)), (codes, np.arange(len(codes))))).tocsr()
    return _Sums(np.asarray(member_GM @ top_MC), np.asarray(member_GM @ bottom_MC), clusters)


def _blocks(sums: _Sums) -> Iterator[_Sums]:
    """A few cells at a time, so that the resamples of all of them are never in memory at once."""
    for start in range(0, sums.top_GC.shape[1], _CELLS_AT_ONCE):
        cells = slice(start, start + _CELLS_AT_ONCE)
        yield _Sums(sums.top_GC[:, cells], sums.bottom_GC[:, cells], sums.clusters)


def _labelled(variables: dict[str, Array], values: xr.DataArray) -> xr.Dataset:
    dims: Any = language_dims(values)
    data = {name: (dims, array) for name, array in variables.items()}
    return xr.Dataset(data, coords=language_coords(values), attrs=values.attrs)


def _ratio(sums: _Sums) -> Array:
    total = sums.bottom_GC.sum(axis=0)
    result: Array = sums.top_GC.sum(axis=0) / np.where(total > 0, total, np.nan)
    return result


def _deviations(sums: _Sums) -> Array:
    """How much each cluster lies above what the ratio of all gives it, [cluster, cell]."""
    deviations_GC = sums.top_GC - _ratio(sums) * sums.bottom_GC
    rounding_C = _ROUNDING * np.abs(sums.top_GC).max(axis=0)
    return np.where(np.abs(deviations_GC) <= rounding_C, 0.0, deviations_GC)


def _error(deviations_GC: Array, bottom_GC: Array) -> Array:
    """Standard error of the ratio, [cell]."""
    n = (bottom_GC > 0).sum(axis=0)
    square = (deviations_GC**2).sum(axis=0) * n / np.where(n > 1, n - 1, np.nan)
    error: Array = np.sqrt(square) / bottom_GC.sum(axis=0)
    return error


def _bootstrap_t(sums: _Sums, draws_RG: Array, level: float) -> tuple[Array, Array, Array]:
    """Ratio, lower and upper limit, each [cell]."""
    ratio, deviations_GC = _ratio(sums), _deviations(sums)
    spread = (deviations_GC != 0).any(axis=0)
    error = np.where(spread, _error(deviations_GC, sums.bottom_GC), np.nan)
    t_RC = np.sort(_studentised(deviations_GC, sums.bottom_GC, draws_RG), axis=0)  # NaN come last
    usable_C = (~np.isnan(t_RC)).sum(axis=0)
    n_below_C = np.ceil(usable_C * (1 - level) / 2).astype(int)
    lower, upper = (
        np.take_along_axis(t_RC, np.maximum(position, 0)[None], axis=0)[0]
        for position in (n_below_C - 1, usable_C - n_below_C)
    )
    return ratio, ratio - upper * error, ratio - lower * error


def _possible(
    mean_C: Array, bottom_GC: Array, bounds: tuple[float, float], level: float
) -> tuple[Array, Array]:
    """How low and how high the expected ratio can be, [cell], by the bounds of the values alone.

    NaN where they are infinite, or fewer than two clusters count.
    """
    least, greatest = bounds
    width = greatest - least
    if not np.isfinite(width):
        return np.full_like(mean_C, np.nan), np.full_like(mean_C, np.nan)
    several = (bottom_GC > 0).sum(axis=0) > 1
    n = bottom_GC.sum(axis=0) / np.where(several, bottom_GC.max(axis=0), np.nan)
    limits = hoeffding_limits(np.clip((mean_C - least) / width, 0.0, 1.0), n, level)
    low, high = (least + width * limit for limit in limits)
    return low, high


def _studentised(deviations_GC: Array, bottom_GC: Array, draws_RG: Array) -> Array:
    """(resampled ratio - ratio) / its error, [resample, cell].

    Infinite where a resample happens to have no spread, NaN where it has fewer than two clusters.
    """
    drawn_RC = draws_RG @ (bottom_GC > 0).astype(np.float64)
    total_RC = np.where(drawn_RC > 1, draws_RG @ bottom_GC, np.nan)
    shift_RC = draws_RG @ deviations_GC / total_RC
    square_RC = (
        draws_RG @ deviations_GC**2
        - 2 * shift_RC * (draws_RG @ (deviations_GC * bottom_GC))
        + shift_RC**2 * (draws_RG @ bottom_GC**2)
    )
    rounding_C = _ROUNDING * (deviations_GC**2).max(axis=0)
    square_RC = np.where(square_RC <= rounding_C, 0.0, square_RC)
    with np.errstate(divide="ignore", invalid="ignore"):
        error_RC = np.sqrt(square_RC * drawn_RC / (drawn_RC - 1)) / total_RC
        t_RC: Array = np.where(shift_RC == 0, 0.0, shift_RC / error_RC)
    return t_RC
