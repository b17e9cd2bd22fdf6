"""p-values of what has an interval: how high the level may be for the interval to exclude 0."""

from collections.abc import Callable

import xarray as xr

from sprachbund.analysis.labels import ALL
from sprachbund.analysis.permutation import benjamini_hochberg
from sprachbund.analysis.seeds import quiet_about_signs

# The levels of error that are tried; a p-value is one of them, or 1.
_ERRORS = (0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001)


def with_p_values(interval: Callable[[float], xr.Dataset], level: float = 0.95) -> xr.Dataset:
    """The intervals at one level, with `p_value` (`interval_p_values`) and `q_value` (`q_values`) of being 0."""
    found = interval(level)
    p_value = interval_p_values(found["low"].notnull(), interval)
    return found.assign(p_value=p_value, q_value=q_values(p_value))


def q_values(p_values: xr.DataArray) -> xr.DataArray:
    """Benjamini-Hochberg over the cells of single test languages, and over those of "all" languages by themselves.

    Returns: as `p_values`; NaN stay NaN and out.
    """
    q_value = p_values.copy(data=p_values.values.copy())
    is_all = p_values["test_language"] == ALL
    for family in (is_all, ~is_all):
        cells = {"test_language": p_values["test_language"][family]}
        q_value.loc[cells] = benjamini_hochberg(p_values.sel(cells).values)
    return q_value


def interval_p_values(known: xr.DataArray, interval: Callable[[float], xr.Dataset]) -> xr.DataArray:
    """The smallest level of error whose interval is free of 0, rounded up to one of ten levels from 0.001.

    `known` says which cells have an interval; `interval` finds `low` and `high` of all cells at a level.

    Returns: as `known`; NaN where there is no interval.
    """
    p_value = xr.ones_like(known, dtype=float).where(known)
    for error in _ERRORS:
        with quiet_about_signs():  # whether seeds agree does not depend on the level
            at = interval(1.0 - error)
        excludes_zero = (at["low"] > 0) | (at["high"] < 0)
        if not excludes_zero.any():
            break  # intervals only grow from here
        p_value = p_value.where(~(excludes_zero & known), error)
    return p_value
