"""The questions about the course of fine-tuning, each answered in one call, over all runs, with intervals.

As in `answers`, `runs` are the influence results by the seed of the run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import xarray as xr

from sprachbund.analysis.answers import Runs, against_overall
from sprachbund.analysis.dynamics import (
    LEARNING_BOUNDS,
    alone,
    expected_own_and_cross,
    learning_values,
    own_and_cross_values,
    own_share,
    running,
)
from sprachbund.analysis.interval_tests import with_p_values
from sprachbund.analysis.measures import mass_share, mean_influence, top_share, top_shares
from sprachbund.analysis.seeds import (
    combine_each_and_all,
    combine_seeds,
    limits_where_any_differs,
    quiet_about_signs,
)
from sprachbund.analysis.statistics import PERCENT, POINTS, UNBOUNDED
from sprachbund.errors import InfluenceError
from sprachbund.influence import Sign


def dynamics(runs: Runs, k: int = 100, sign: Sign = "proponents") -> xr.Dataset:
    """Own-language against cross-language share of the top k in the course of fine-tuning.

    Returns: what `combine_seeds` returns, [scores, relation, checkpoint, test_language], percent:
    `scores` is "alone" (each checkpoint's own) or "running" (their weighted sum so far; NaN
    before the first that counts), `relation` "own" or "cross"; with `expected_percent`
    [relation, test_language] and `epoch`. A language that was not trained on is NaN.
    Raises: InfluenceError if the runs have other checkpoints.
    """
    measure = partial(top_share, k=k, sign=sign)
    expected = expected_own_and_cross(measure(next(iter(runs.values())).total()))
    parts = {
        name: combine_seeds(
            {seed: own_and_cross_values(shares) for seed, shares in by_seed.items()},
            expected,
            PERCENT,
        )
        for name, by_seed in _courses(runs, measure)
    }
    joined = _over_checkpoints(runs, parts).assign_coords(expected_percent=expected)
    return joined.assign_attrs(k=k, sign=sign)


def own_share_change(
    runs: Runs, ks: Sequence[int] = (100,), sign: Sign = "proponents"
) -> xr.Dataset:
    """How far the own-language share of the top k has moved by the last checkpoint, each checkpoint taken alone.

    Test example by test example, since each earlier checkpoint: what fine-tuning changes from the starting point on,
    whose head is random, and from any later moment on. Below 0, reliance on other languages has risen (Choenni et al.
    2023, section 6).

    Returns: what `combine_seeds` returns, [k, since, test_language], percentage points, `since` an optimizer step
    with its `epoch`; the last language, "all", is all test examples of languages that are trained on. `p_value` and
    `q_value` as `interval_tests.with_p_values` gives them.
    Raises: InfluenceError if k exceeds the number of training examples, there is one checkpoint, or no test language is
    trained on.
    """
    measure = partial(top_shares, ks=tuple(ks), sign=sign)
    changes = {}
    for seed, run in runs.items():
        course = own_share(alone(run, measure)).dropna("test", how="all")
        if course.sizes["checkpoint"] < 2 or not course.sizes["test"]:
            raise InfluenceError(
                "a change of the own-language share needs two checkpoints and a test language that is trained on"
            )
        since = course.isel(checkpoint=slice(None, -1))
        change = course.isel(checkpoint=-1, drop=True) - since.drop_vars(
            "learning_rate", errors="ignore"
        )
        change = change.rename(checkpoint="since").transpose("k", "since", "test")
        changes[seed] = change.drop_vars("expected_percent", errors="ignore")

    def interval(level: float) -> xr.Dataset:
        found = combine_each_and_all(changes, 0.0, POINTS, level=level)
        return limits_where_any_differs(found, changes)

    return with_p_values(interval)


def share_by_checkpoint(runs: Runs, k: int = 100, sign: Sign = "proponents") -> xr.Dataset:
    """`answers.share` in the course of fine-tuning.

    Returns: as `by_checkpoint`, [scores, checkpoint, test_language, train_language], percent, with the coordinate
    `expected_percent` [train_language].
    Raises: InfluenceError if k exceeds the number of training examples or the runs have other checkpoints.
    """
    found = by_checkpoint(runs, partial(top_share, k=k, sign=sign), PERCENT)
    return found.assign_attrs(k=k, sign=sign)


def mass_by_checkpoint(runs: Runs, sign: Sign = "proponents") -> xr.Dataset:
    """`answers.mass` in the course of fine-tuning; see `share_by_checkpoint`."""
    return by_checkpoint(runs, partial(mass_share, sign=sign), PERCENT).assign_attrs(sign=sign)


def mean_score_by_checkpoint(runs: Runs) -> xr.Dataset:
    """`mean_score` in the course of fine-tuning.

    Returns: as `mean_score`, [scores, checkpoint, test_language, train_language]; `scores` and `epoch` as in
    `by_checkpoint`.
    Raises: InfluenceError if the runs have other checkpoints.
    """
    parts = {name: against_overall(means) for name, means in _courses(runs, mean_influence)}
    return _over_checkpoints(runs, parts)


def by_checkpoint(
    runs: Runs,
    measure: Callable[[xr.DataArray], xr.DataArray],
    bounds: tuple[float, float] = UNBOUNDED,
) -> xr.Dataset:
    """Any measure of a score matrix in the course of fine-tuning, with intervals.

    `measure` takes scores [test, train] and keeps the test examples: `partial(top_shares, ks=(10, 100))`, `mass_share`,
    `mean_influence`, ... `bounds` are the least and the greatest value that it can have.

    Returns: what `combine_seeds` returns, [scores, checkpoint, ...]: `scores` is "alone" (each checkpoint's own) or
    "running" (their weighted sum so far; NaN before the first that counts), with `epoch`.
    Raises: InfluenceError if the runs have other checkpoints.
    """
    parts = {}
    for name, values in _courses(runs, measure):
        first = next(iter(values.values()))
        parts[name] = combine_seeds(values, first.coords.get("expected_percent", 0.0), bounds)
    return _over_checkpoints(runs, parts)


def learning(runs: Runs) -> xr.Dataset:
    """Accuracy and loss on the attributed test examples by checkpoint, with intervals.

    Returns: what `combine_seeds` returns, [measure, checkpoint, test_language]; `measure` is
    "accuracy_percent" or "loss" (nats).
    Raises: InfluenceError if the result holds neither predictions nor losses.
    """
    by_run = {seed: learning_values(run) for seed, run in runs.items()}
    names = list(next(iter(by_run.values())))
    with quiet_about_signs():
        parts = [
            combine_seeds({s: v[name] for s, v in by_run.items()}, 0.0, LEARNING_BOUNDS[name])
            for name in names
        ]
    joined = xr.concat(parts, dim="measure", combine_attrs="override", coords="minimal")
    return joined.assign_coords(measure=names)


def _courses(
    runs: Runs, measure: Callable[[xr.DataArray], xr.DataArray]
) -> Iterator[tuple[str, dict[int, xr.DataArray]]]:
    """A measure through the checkpoints, by seed: of the scores "alone", then "running"."""
    for name, course in {"alone": alone, "running": running}.items():
        yield name, {seed: course(run, measure) for seed, run in runs.items()}


def _over_checkpoints(runs: Runs, parts: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """What was found of the scores alone and of their running sum, along `scores`."""
    joined = xr.concat(list(parts.values()), dim="scores", join="outer", combine_attrs="override")
    first = next(iter(runs.values())).dataset
    epoch = first["epoch"].sel(checkpoint=joined["checkpoint"]).values
    return joined.assign_coords(scores=list(parts), epoch=("checkpoint", epoch))
