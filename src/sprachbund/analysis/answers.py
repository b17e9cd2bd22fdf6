"""The questions of a study, each answered in one call, over all its runs, with intervals.

`runs` are the influence results by the seed of the run; one run alone is `{0: influence}`. Where a
value is the mean over single test examples, the interval is that of `combine_seeds`: other test
examples and, with several runs, other seeds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import xarray as xr

from sprachbund.analysis import confounds as controls
from sprachbund.analysis.decomposed import Decompositions, decomposed_runs
from sprachbund.analysis.dynamics import (
    LEARNING_BOUNDS,
    alone,
    expected_own_and_cross,
    learning_values,
    own_and_cross_values,
    own_share,
    running,
)
from sprachbund.analysis.labels import as_one
from sprachbund.analysis.measures import lift as over_chance
from sprachbund.analysis.measures import (
    mass_share,
    mass_weights,
    mean_influence,
    top_shares,
    top_weights,
)
from sprachbund.analysis.permutation import permutation_test
from sprachbund.analysis.properties import (
    Given,
    rank_correlations,
    rank_correlations_within,
    train_properties,
)
from sprachbund.analysis.reinforcement import reinforcement as reinforcement_counts
from sprachbund.analysis.reinforcement import reinforcement_rate
from sprachbund.analysis.relations import relations as related
from sprachbund.analysis.retrieval import translation_ranks, translation_retrieval
from sprachbund.analysis.seeds import average, check_same_cells, combine_seeds, quiet_about_signs
from sprachbund.analysis.sharing import example_shares
from sprachbund.analysis.statistics import PERCENT, UNBOUNDED
from sprachbund.errors import InfluenceError
from sprachbund.influence import Influence, Sign

Runs = Mapping[int, Influence]
_CORRELATION = (-1.0, 1.0)
_POINTS = (-100.0, 100.0)


def share(runs: Runs, ks: Sequence[int] = (100,), sign: Sign = "proponents") -> xr.Dataset:
    """Percentage of the top k that each training language contributes, with intervals.

    Returns: what `combine_seeds` returns, [k, test_language, train_language], percent, with the
    coordinate `expected_percent` [train_language], the share of a top k drawn at random.
    Raises: InfluenceError if a k exceeds the number of training examples.
    """
    shares = {seed: example_shares(run, ks, sign) for seed, run in runs.items()}
    expected = next(iter(shares.values()))["expected_percent"]
    return combine_seeds(shares, expected, PERCENT)


def lift(runs: Runs, ks: Sequence[int] = (100,), sign: Sign = "proponents") -> xr.Dataset:
    """`share` over the share expected by chance: 1 is chance."""
    return lift_of(share(runs, ks, sign))


def lift_of(found: xr.Dataset) -> xr.Dataset:
    """The lifts of what `share` or `mass` found, each limit divided by chance too."""
    names = ("mean", "low", "high", "seed_standard_deviation")
    return found.assign({name: over_chance(found[name]) for name in names})


def share_test(runs: Runs, k: int = 100, sign: Sign = "proponents") -> xr.Dataset:
    """`permutation_test` of the share of the top k, averaged over the runs.

    Returns: see `permutation_test`, [test_language, train_language], percent.
    Raises: InfluenceError if the runs do not hold the same training examples in the same order.
    """
    return _tested(runs, partial(top_weights, k=k, sign=sign))


def mass_test(runs: Runs, sign: Sign = "proponents") -> xr.Dataset:
    """`permutation_test` of the share of the positive influence; see `share_test`."""
    return _tested(runs, partial(mass_weights, sign=sign))


def mean_score_test(runs: Runs) -> xr.Dataset:
    """`permutation_test` of the mean influence of a language's training examples; see `share_test`.

    The values are sums over the language's training examples; p and q are those of the means.
    """
    return _tested(runs, lambda scores: scores.astype(np.float64))


def mass(runs: Runs, sign: Sign = "proponents") -> xr.Dataset:
    """Percentage of the positive influence that each training language holds, with intervals.

    Returns: as `share`, without k.
    """
    shares = {seed: mass_share(run.total(), sign) for seed, run in runs.items()}
    return combine_seeds(shares, next(iter(shares.values()))["expected_percent"], PERCENT)


def mean_score(runs: Runs) -> xr.Dataset:
    """Mean influence of one example of a language on one of another, with intervals.

    If the language did not matter, it would be the mean over all training examples: `expected` [test_language].
    `difference` is how far it is from that, with its own interval (`difference_low`, `difference_high`).

    Returns: what `combine_seeds` returns, [test_language, train_language], in the method's unit, and these.
    `signs_agree` is of the difference.
    """
    return _against_overall({seed: mean_influence(run.total()) for seed, run in runs.items()})


def mean_score_by_checkpoint(runs: Runs) -> xr.Dataset:
    """`mean_score` in the course of fine-tuning.

    Returns: as `mean_score`, [scores, checkpoint, test_language, train_language]; `scores` and `epoch` as in
    `by_checkpoint`.
    Raises: InfluenceError if the runs have other checkpoints.
    """
    parts = {name: _against_overall(means) for name, means in _courses(runs, mean_influence)}
    return _over_checkpoints(runs, parts)


def dynamics(runs: Runs, k: int = 100, sign: Sign = "proponents") -> xr.Dataset:
    """Own-language against cross-language share of the top k in the course of fine-tuning.

    Returns: what `combine_seeds` returns, [scores, relation, checkpoint, test_language], percent:
    `scores` is "alone" (each checkpoint's own) or "running" (their weighted sum so far; NaN
    before the first that counts), `relation` "own" or "cross"; with `expected_percent`
    [relation, test_language] and `epoch`. A language that was not trained on is NaN.
    Raises: InfluenceError if the runs have other checkpoints.
    """
    measure = partial(_share_of_top, k=k, sign=sign)
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
    with its `epoch`; the last language, "all", is all test examples of languages that are trained on.
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
        changes[seed] = change.rename(checkpoint="since").transpose("k", "since", "test")
    plain = {
        seed: change.drop_vars("expected_percent", errors="ignore")
        for seed, change in changes.items()
    }
    each = combine_seeds(plain, 0.0, _POINTS)
    with quiet_about_signs():
        together = combine_seeds({s: as_one(c) for s, c in plain.items()}, 0.0, _POINTS)
    return xr.concat([each, together], dim="test_language", combine_attrs="override")


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


def reinforcement(runs: Runs, ks: Sequence[int] = (100,)) -> xr.Dataset:
    """How many proponents from other languages repeat the own language's; see `reinforcement_rate`.

    Returns: as `reinforcement_rate`, and `seed_standard_deviation` of `excess_percent`.
    Raises: InfluenceError if the training data is not parallel.
    """
    counts = {seed: reinforcement_counts(run.total(), ks) for seed, run in runs.items()}
    return _pooled(counts, reinforcement_rate, "excess_percent")


def retrieval(runs: Runs, k: int = 100) -> xr.Dataset:
    """Are translations of own-language proponents found by influence; see `translation_retrieval`.

    Returns: as `translation_retrieval`, and `seed_standard_deviation` of `rank_percent`.
    Raises: InfluenceError if the training data is not parallel.
    """
    ranks = {seed: translation_ranks(run.total(), k) for seed, run in runs.items()}
    return _pooled(ranks, translation_retrieval, "rank_percent")


def confounds(
    runs: Runs,
    k: int = 100,
    sign: Sign = "proponents",
    given: Given | None = None,
    decompositions: Decompositions | None = None,
) -> xr.Dataset:
    """How much of each language's lift remains after each control; see `remaining_lift`.

    `given` are properties of the training examples that the result does not hold;
    `decompositions`, by seed, add the controls of each group of parameters and of mean gradients.
    """
    scores = decomposed_runs(runs, decompositions) if decompositions else {}
    lifts = {
        seed: controls.lifts_after_controls(
            run.total(), train_properties(run, given), k, sign, scores.get(seed)
        )
        for seed, run in runs.items()
    }
    return controls.remaining_lift(lifts)


def label_agreement(runs: Runs, k: int = 100, sign: Sign = "proponents") -> xr.Dataset:
    """Percentage of the top k that has the test example's own label, with intervals.

    Returns: what `combine_seeds` returns, [test_language], and `expected_percent` [test_language].
    """
    found = {s: controls.label_agreement(run.total(), k, sign) for s, run in runs.items()}
    expected = {s: one["expected_percent"] for s, one in found.items()}
    with quiet_about_signs():
        chance = combine_seeds(expected, 0.0, PERCENT)["mean"]
    values = {s: one["same_label_percent"] for s, one in found.items()}
    return combine_seeds(values, chance, PERCENT).assign(expected_percent=chance)


def property_correlations(runs: Runs, given: Given | None = None) -> xr.Dataset:
    """Spearman's correlation of influence with properties of training examples, with intervals.

    Returns: what `combine_seeds` returns, [property, train_language, test_language]:
    `train_language` is "all" (over all training examples) or the language within which it is.
    """
    values = {}
    for seed, run in runs.items():
        scores, properties = run.total(), train_properties(run, given)
        overall = rank_correlations(scores, properties).expand_dims(train_language=["all"])
        within = rank_correlations_within(scores, properties)
        values[seed] = xr.concat([overall, within], dim="train_language", join="outer").transpose(
            "property", "train_language", "test"
        )
    with quiet_about_signs():
        return combine_seeds(values, 0.0, _CORRELATION)


def relations(runs: Runs, distances: xr.Dataset, k: int = 100) -> xr.Dataset:
    """Does influence go with the distance between languages; see `relations.relations`.

    For three matrices, each averaged over the runs: the lift of the top k, the lift of the mass
    share, and the mean influence.

    Returns: as `relations`, along `measure` and `distance`.
    Raises: InfluenceError if no distance can be tested.
    """
    with quiet_about_signs():
        matrices = {
            "lift of the top k": lift(runs, (k,))["mean"].sel(k=k, drop=True),
            "lift of the mass": over_chance(mass(runs)["mean"]),
            "mean influence": mean_score(runs)["mean"],
        }
    found = [related(matrix, distances) for matrix in matrices.values()]
    joined = xr.concat(found, dim="measure", combine_attrs="override")
    return joined.assign_coords(measure=list(matrices)).assign_attrs(k=k)


def _courses(
    runs: Runs, measure: Callable[[xr.DataArray], xr.DataArray]
) -> Iterator[tuple[str, dict[int, xr.DataArray]]]:
    """A measure through the checkpoints, by seed: of the scores "alone", then "running"."""
    for name, course in {"alone": alone, "running": running}.items():
        yield name, {seed: course(run, measure) for seed, run in runs.items()}


def _against_overall(means: Mapping[int, xr.DataArray]) -> xr.Dataset:
    """Mean influence by training language beside that of all training examples; see `mean_score`."""
    overall = {
        seed: mean.weighted(mean["n_train"]).mean("train_language") for seed, mean in means.items()
    }
    difference = combine_seeds(
        {seed: means[seed] - overall[seed] for seed in means}, 0.0, UNBOUNDED
    )
    with quiet_about_signs():
        found = combine_seeds(means, 0.0, UNBOUNDED)
        expected = combine_seeds(overall, 0.0, UNBOUNDED)["mean"]
    return found.assign(
        expected=expected,
        difference=difference["mean"],
        difference_low=difference["low"],
        difference_high=difference["high"],
        signs_agree=difference["signs_agree"],
    )


def _over_checkpoints(runs: Runs, parts: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """What was found of the scores alone and of their running sum, along `scores`."""
    joined = xr.concat(list(parts.values()), dim="scores", join="outer", combine_attrs="override")
    first = next(iter(runs.values())).dataset
    epoch = first["epoch"].sel(checkpoint=joined["checkpoint"]).values
    return joined.assign_coords(scores=list(parts), epoch=("checkpoint", epoch))


def _tested(runs: Runs, weights: Callable[[xr.DataArray], xr.DataArray]) -> xr.Dataset:
    """`permutation_test` of what each training example adds, [test, train], averaged over the runs."""
    by_seed = {seed: weights(run.total()) for seed, run in runs.items()}
    check_same_cells(by_seed)
    return permutation_test(average(by_seed))


def _share_of_top(scores: xr.DataArray, k: int, sign: Sign) -> xr.DataArray:
    return top_shares(scores, (k,), sign).isel(k=0, drop=True)


def _pooled(
    counts: Mapping[int, xr.Dataset], rate: Callable[[xr.Dataset], xr.Dataset], name: str
) -> xr.Dataset:
    """The rate over all runs, and the deviation of the rate called `name` between them."""
    stacked = xr.concat(list(counts.values()), "run", join="exact", combine_attrs="override")
    rates = xr.concat([rate(one)[name] for one in counts.values()], dim="run")
    return rate(stacked).assign(seed_standard_deviation=_spread(rates))


def _spread(values: xr.DataArray) -> xr.DataArray:
    if values.sizes["run"] < 2:
        return values.isel(run=0, drop=True) * np.nan
    return values.std("run", ddof=1)
