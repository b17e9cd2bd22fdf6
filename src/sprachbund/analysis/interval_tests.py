"""p-values of what has an interval: how high the level may be for the interval to exclude 0."""

from collections.abc import Callable

import xarray as xr

# The levels of error that are tried; a p-value is one of them, or 1.
_ERRORS = (0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001)


def interval_p_values(known: xr.DataArray, interval: Callable[[float], xr.Dataset]) -> xr.DataArray:
    """The smallest level of error whose interval is free of 0, rounded up to one of ten levels from 0.001.

    `known` says which cells have an interval; `interval` finds `low` and `high` of all cells at a level.

    Returns: as `known`; NaN where there is no interval.
    """
    p_value = xr.ones_like(known, dtype=float).where(known)
    for error in _ERRORS:
        at = interval(1.0 - error)
        excludes_zero = (at["low"] > 0) | (at["high"] < 0)
        if not excludes_zero.any():
            break  # intervals only grow from here
        p_value = p_value.where(~(excludes_zero & known), error)
    return p_value
