"""Several fine-tuning runs, alike but for the seed, as one result with its spread."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from sprachbund.errors import InfluenceError


def over_seeds(results: Mapping[int, xr.DataArray]) -> xr.Dataset:
    """Mean and standard deviation over runs of the same measure, cell by cell.

    Returns: `mean` and `seed_standard_deviation` (n - 1; NaN for a single run), with the dims of
    the measure; attribute `n_seeds`.
    Raises: InfluenceError if the runs do not measure the same cells.
    """
    if not results:
        raise InfluenceError("there is no run to average")
    seeds = sorted(results)
    first = results[seeds[0]]
    for seed in seeds[1:]:
        for dim in first.dims:
            expected, found = (r[dim].values.tolist() for r in (first, results[seed]))
            if expected != found:
                raise InfluenceError(
                    f"seeds {seeds[0]} and {seed} cannot be averaged: {dim} is {expected} in the "
                    f"one, {found} in the other"
                )
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
