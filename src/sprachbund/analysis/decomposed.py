"""Scores taken apart: what each group of parameters contributes, and what is left without mean gradients.

A decomposition of some checkpoints becomes score matrices, weighted as the total of the run is, that every measure of
this package takes in the place of the whole scores.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from sprachbund.analysis.measures import lift, mean_influence, top_shares
from sprachbund.analysis.seeds import combine_seeds, quiet_about_signs
from sprachbund.analysis.statistics import PERCENT
from sprachbund.decomposition.result import Decomposition
from sprachbund.errors import InfluenceError
from sprachbund.influence import Influence, Sign

Decompositions = Mapping[int, Decomposition]
"""By the seed of the run."""

MEANS_REMOVED = "mean gradients removed"
_EXAMPLES = ("test", "train")


@dataclass(frozen=True)
class DecomposedScores:
    """The scores of a run by group of parameters, and without mean gradients, summed over checkpoints.

    `by_group` is [group, test, train] and adds up to the scores of `checkpoints`; `means_removed` is [test, train].
    """

    by_group: xr.DataArray
    means_removed: xr.DataArray
    checkpoints: tuple[int, ...]
    covers_total: bool
    """Whether these checkpoints are all that the total of the run is made of."""

    def controlled(self) -> Iterator[tuple[str, xr.DataArray]]:
        """Yield (name, scores [test, train]): "without <group>" for each group, "mean gradients removed"."""
        whole = self.by_group.sum("group")
        for group in self.by_group["group"].values:
            yield f"without {group}", whole - self.by_group.sel(group=group, drop=True)
        yield MEANS_REMOVED, self.means_removed


def decomposed_scores(influence: Influence, decomposition: Decomposition) -> DecomposedScores:
    """Weigh the checkpoints of a decomposition as the total does (`Influence.total_weights`) and add them up.

    Raises: InfluenceError if the decomposition is of other examples, checkpoints or another method.
    """
    _check_same_run(influence, decomposition)
    weights = dict(zip(influence.checkpoints, influence.total_weights(), strict=True))
    steps = decomposition.checkpoints
    weight = xr.DataArray([weights[step] for step in steps], dims="checkpoint")
    if not weight.any():
        raise InfluenceError(
            f"the decomposition is of checkpoint {', '.join(map(str, steps))}, which has no weight in the total"
        )
    dataset = decomposition.dataset.drop_vars(["checkpoint", "epoch", "learning_rate"])
    found = (dataset[["contribution", "means_removed"]].astype(np.float64) * weight).sum(
        "checkpoint"
    )
    counting = {step for step, of_total in weights.items() if of_total}
    return DecomposedScores(
        found["contribution"], found["means_removed"], steps, counting <= set(steps)
    )


def shares_by_group(
    scores: DecomposedScores, k: int = 100, sign: Sign = "proponents"
) -> xr.DataArray:
    """Percentage of each training language in the top k that each group of parameters makes alone.

    Returns: [group, test, train_language], percent, as `top_shares`; sums to 100 over languages.
    Raises: InfluenceError if k exceeds the number of training examples.
    """
    groups = scores.by_group["group"].values
    parts = [
        top_shares(scores.by_group.sel(group=group, drop=True), (k,), sign).isel(k=0, drop=True)
        for group in groups
    ]
    return xr.concat(parts, "group", coords="minimal", compat="override").assign_coords(
        group=groups
    )


def mean_contributions(scores: DecomposedScores) -> xr.DataArray:
    """Mean contribution of a group of parameters to the influence of one training example of a language.

    Returns: [group, test, train_language], in the method's unit; adds up over the groups to the
    mean influence (`mean_influence`).
    """
    groups = scores.by_group["group"].values
    parts = [mean_influence(scores.by_group.sel(group=group, drop=True)) for group in groups]
    return xr.concat(parts, "group", coords="minimal", compat="override").assign_coords(
        group=groups
    )


def decomposed_runs(
    runs: Mapping[int, Influence], decompositions: Decompositions
) -> dict[int, DecomposedScores]:
    """`decomposed_scores` of each run, by seed. Raises: InfluenceError if one is not decomposed."""
    missing = sorted(runs.keys() - decompositions.keys())
    if missing:
        raise InfluenceError(
            f"the run of seed {missing[0]} is not decomposed; run `sprachbund decompose STUDY.yaml`"
        )
    return {seed: decomposed_scores(run, decompositions[seed]) for seed, run in runs.items()}


def share_by_parameter_group(
    runs: Mapping[int, Influence],
    decompositions: Decompositions,
    k: int = 100,
    sign: Sign = "proponents",
) -> xr.Dataset:
    """Percentage of each training language in the top k of each group of parameters alone, over the runs of a study.

    Returns: what `combine_seeds` returns, [group, test_language, train_language], percent, with
    `lift`, and `contribution` with `contribution_low` and `contribution_high`: the mean contribution of
    the group to the influence of one training example, in the method's unit, which adds up over
    the groups to the mean influence.
    Raises: InfluenceError if k exceeds the number of training examples, or a run is not decomposed.
    """
    scores = decomposed_runs(runs, decompositions)
    shares = {seed: shares_by_group(one, k, sign) for seed, one in scores.items()}
    expected = next(iter(shares.values()))["expected_percent"]
    with quiet_about_signs():
        found = combine_seeds(shares, expected, PERCENT)
        contributed = combine_seeds(
            {seed: mean_contributions(one) for seed, one in scores.items()}, 0.0
        )
    return found.assign(
        lift=lift(found["mean"]),
        contribution=contributed["mean"],
        contribution_low=contributed["low"],
        contribution_high=contributed["high"],
    )


def _check_same_run(influence: Influence, decomposition: Decomposition) -> None:
    for kind in _EXAMPLES:
        expected, found = (of.dataset[kind].values.tolist() for of in (influence, decomposition))
        if expected != found:
            raise InfluenceError(
                f"the decomposition is of {len(found)} {kind} examples which are not the {len(expected)} of the "
                "influence result; run `sprachbund decompose` again"
            )
    if influence.method != decomposition.method:
        raise InfluenceError(
            f"the decomposition is of {decomposition.method}, the influence result of {influence.method}; run "
            "`sprachbund decompose` again"
        )
    unknown = [step for step in decomposition.checkpoints if step not in influence.checkpoints]
    if unknown:
        raise InfluenceError(
            f"the decomposition is of checkpoint {unknown[0]}, which the influence result lacks; run "
            "`sprachbund decompose` again"
        )
