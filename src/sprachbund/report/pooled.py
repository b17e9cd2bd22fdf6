"""One estimate over the test examples of all the languages trained on together, with its interval.

The tables of the analysis have one estimate for each language; the sentences of a report need one
for all. Test examples are resampled in the same clusters, so that translations count once.
"""

from collections.abc import Mapping
from functools import partial

import pandas as pd
import xarray as xr

from sprachbund.analysis.answers import Runs
from sprachbund.analysis.dynamics import LEARNING_BOUNDS, alone, learning_values, own_share
from sprachbund.analysis.labels import ALL, as_one
from sprachbund.analysis.measures import top_share
from sprachbund.analysis.reinforcement import reinforcement, reinforcement_rate
from sprachbund.analysis.seeds import combine_seeds, quiet_about_signs
from sprachbund.analysis.sharing import example_shares
from sprachbund.analysis.statistics import PERCENT, UNBOUNDED
from sprachbund.influence import Influence, Sign


def own_share_by_k(runs: Runs, ks: list[int], sign: Sign) -> pd.DataFrame:
    """Percentage of the top k in the test example's own language: k, mean, low, high, chance."""
    values = {seed: own_share(example_shares(run, ks, sign)) for seed, run in runs.items()}
    return _frame(values, "k")


def own_share_by_checkpoint(runs: Runs, k: int) -> pd.DataFrame:
    """The same of the proponents of each checkpoint alone: k, checkpoint, epoch, mean, low, ..."""
    measure = partial(top_share, k=k)
    courses = {seed: own_share(alone(run, measure)) for seed, run in runs.items()}
    return _frame(courses, "checkpoint").assign(k=k)


def learning(runs: Runs) -> pd.DataFrame:
    """Accuracy and loss: measure, checkpoint, epoch, mean, low, high.

    Raises: InfluenceError if the result holds neither predictions nor losses.
    """
    values = {seed: learning_values(run) for seed, run in runs.items()}
    trained = {s: _is_trained(run) for s, run in runs.items()}
    parts = []
    for name in next(iter(values.values())):
        one = {s: found[name].isel(test=trained[s]) for s, found in values.items()}
        found = _together(one, LEARNING_BOUNDS[name])
        parts.append(found.to_dataframe().reset_index().assign(measure=name))
    return pd.concat(parts)


def reinforcing(runs: Runs, k: int) -> dict[str, float]:
    """The columns of `reinforcement_rate`, over all pairs of languages; NaN without a proponent.

    Raises: InfluenceError if the training data is not parallel.
    """
    counts = [reinforcement(run.total(), (k,)).isel(k=0) for run in runs.values()]
    stacked = xr.concat(counts, "run", join="exact", combine_attrs="override")
    total = stacked.sum("train_language").expand_dims(train_language=[ALL])
    rate = reinforcement_rate(as_one(total)).isel(test_language=0, train_language=0)
    return {str(name): float(found) for name, found in rate.data_vars.items()}


def _frame(values: Mapping[int, xr.DataArray], along: str) -> pd.DataFrame:
    known = {seed: found.dropna("test", how="all") for seed, found in values.items()}
    expected = float(next(iter(known.values()))["expected_percent"].mean())
    frame = _together(known, PERCENT).to_dataframe().reset_index()
    kept = [name for name in (along, "epoch", "mean", "low", "high") if name in frame]
    return frame[kept].assign(chance=expected)


def _together(
    values: Mapping[int, xr.DataArray], bounds: tuple[float, float] = UNBOUNDED
) -> xr.Dataset:
    plain = {
        seed: as_one(found.dropna("test", how="all")).drop_vars("expected_percent", errors="ignore")
        for seed, found in values.items()
    }
    with quiet_about_signs():
        return combine_seeds(plain, 0.0, bounds).isel(test_language=0, drop=True)


def _is_trained(run: Influence) -> xr.DataArray:
    return run.dataset["test_language"].isin(list(run.train_languages))
