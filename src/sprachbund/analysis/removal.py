"""What the removal of training examples does to predictions, and whether one criterion beats another.

A frame with one row for each test example after each removal goes in (docs/removal.md,
`removal_examples`). Differences are paired: the same test examples, predicted by the same run.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from sprachbund.analysis.interval_tests import q_values, with_p_values
from sprachbund.analysis.labels import ALL
from sprachbund.analysis.removal_noise import (
    INFLUENCE,
    RANDOM,
    joined,
    retraining_error,
)
from sprachbund.analysis.seeds import combine_each_and_all, quiet_about_signs
from sprachbund.analysis.statistics import POINTS
from sprachbund.analysis.table import FALSE_DISCOVERY_RATE, differs

MEASURES = ("predicted_drop", "label_drop", "flips")
Of = Literal["language", "example"]
_LEVEL = 0.95
_FEWEST_DRAWS = 3  # two say too little, see `joined`
_DIMS = ("measure", "criterion", "k", "draw", "test")


def drops(examples: pd.DataFrame) -> dict[int, xr.DataArray]:
    """What each test example lost by each removal, by the seed of the run, in percentage points.

    `predicted_drop` is p(full run) - p(without) of the class that the full run predicts, as in
    Choenni et al. (2023); `label_drop` that of the example's label; `flips` 100 where another
    class is predicted, else 0.

    Returns: [measure, criterion, k, draw, test]; NaN where a criterion has fewer draws.
    """
    rows = examples.assign(
        predicted_drop=100.0 * (examples["probability"] - examples["probability_without"]),
        label_drop=100.0 * (examples["label_probability"] - examples["label_probability_without"]),
        flips=100.0 * (examples["predicted"] != examples["predicted_without"]),
    )
    tests = rows.drop_duplicates("test").set_index("test")
    order = {name: rows[name].unique().tolist() for name in _DIMS[1:]}
    coords = {
        name: ("test", tests[name].to_numpy(dtype=object))
        for name in ("test_language", "test_item", "test_group")
    }
    return {
        int(str(seed)): part.set_index(list(_DIMS[1:]))[list(MEASURES)]
        .to_xarray()
        .reindex(order)
        .to_array("measure")
        .transpose(*_DIMS)
        .assign_coords(coords)
        for seed, part in rows.groupby("seed")
    }


def mean_drops(examples: pd.DataFrame) -> xr.Dataset:
    """Mean of each measure after each removal, with the intervals of `combine_seeds`.

    The draws of a random control are averaged first. The interval is for other test examples and,
    with several runs, other seeds.

    Returns: `mean`, `low`, `high`, `seed_standard_deviation`, `signs_agree`, `n_clusters`,
    [measure, criterion, k, test_language], percentage points; the last language is "all". The attribute `seeds` names
    the runs.
    """
    by_seed = {seed: values.mean("draw") for seed, values in drops(examples).items()}
    return _each_and_all(by_seed, _LEVEL).assign_attrs(seeds=sorted(by_seed))


def differences(examples: pd.DataFrame, of: Of) -> xr.Dataset:
    """Influence minus each control, over the same test examples: above 0, influence removes more.

    `of` says what had a retraining of its own, a language or a test example. With several runs the
    interval is for other test examples and other seeds, and the noise of retraining is in the
    deviation between them. With one run that noise is joined to the interval as the draws of
    `random` show it (`retraining_error`); with fewer than three draws it is unknown, and the
    attribute `noise` is "unknown" (else "seeds" or "draws"). `p_value` is that of `interval_p_values`; `q_value` is
    Benjamini-Hochberg over controls and k, of the languages together and of "all" by itself.

    Returns: as `mean_drops` with `control` in the place of `criterion`, and `p_value`, `q_value`.
    """
    by_seed = drops(examples)
    pairs = {seed: _paired(values) for seed, values in by_seed.items()}
    error, noise = _noise(by_seed, of)

    def interval(level: float) -> xr.Dataset:
        found = _each_and_all(pairs, level)
        return found if error is None else joined(found, error, level, POINTS)

    found = with_p_values(interval, _LEVEL)
    by_measure = [q_values(found["p_value"].sel(measure=name)) for name in found["measure"].values]
    q_value = xr.concat(by_measure, "measure").transpose(*found["p_value"].dims)
    return found.assign(q_value=q_value).assign_attrs(noise=noise, of=of, seeds=sorted(by_seed))


def verdicts(found: xr.Dataset) -> list[str]:
    """One sentence for each control and k, of all test examples together, from `differences`.

    Influence beats a control, or is worse, where the difference `differs` from 0: q at most 0.05, and no seeds
    disagree in sign.
    """
    cells = found.sel(measure="predicted_drop", test_language=ALL)
    sentences = [
        _sentence(cells.sel(control=control, k=k))
        for control in cells["control"].values
        for k in cells["k"].values
    ]
    return [*sentences, _of_the_interval(found)]


def _paired(values: xr.DataArray) -> xr.DataArray:
    average = values.mean("draw")
    controls = average.drop_sel(criterion=INFLUENCE).rename(criterion="control")
    return average.sel(criterion=INFLUENCE, drop=True) - controls


def _each_and_all(values: Mapping[int, xr.DataArray], level: float) -> xr.Dataset:
    with quiet_about_signs():
        return combine_each_and_all(values, 0.0, POINTS, level=level)


def _noise(by_seed: Mapping[int, xr.DataArray], of: Of) -> tuple[xr.DataArray | None, str]:
    """The error that retraining adds to an interval, unless that is in it or unknown, and its source."""
    if len(by_seed) > 1:
        return None, "seeds"
    (values,) = by_seed.values()
    if RANDOM not in values["criterion"] or values.sizes["draw"] < _FEWEST_DRAWS:
        return None, "unknown"
    return retraining_error(values, of), "draws"


def _sentence(cell: xr.Dataset) -> str:
    control, k = str(cell["control"].item()), int(cell["k"])
    mean, low, high, q_value = (float(cell[n]) for n in ("mean", "low", "high", "q_value"))
    size = f"drop {'larger' if mean >= 0 else 'smaller'} by {abs(mean):.1f} points"
    if np.isnan(q_value):
        return f"influence against {control} at k={k}: {size}, but no interval (too few test examples, or all alike)"
    limits = f"[{low:.1f}, {high:.1f}]"
    if mean < 0:
        limits = f"[{-high:.1f}, {-low:.1f}]"
    numbers = f"{size} {limits}, q = {q_value:.3f}"
    if not differs({name: cell[name].item() for name in ("q_value", "signs_agree")}):
        split = ", but seeds disagree in sign" * (q_value <= FALSE_DISCOVERY_RATE)
        return f"no difference shown between influence and {control} at k={k}: {numbers}{split}"
    verb = "beats" if mean > 0 else "is worse than"
    return f"influence {verb} {control} at k={k}: {numbers}"


def _of_the_interval(found: xr.Dataset) -> str:
    source = {
        "seeds": f"in the deviation between the {len(found.attrs['seeds'])} seeds",
        "draws": "estimated from the draws of random",
        "unknown": "not in it: give several seeds, or random_draws of 3 or more",
    }
    return (
        "in brackets: 95 percent interval of the paired difference for other test examples; the "
        f"noise of retraining is {source[found.attrs['noise']]}"
    )
