"""The questions of a study, each answered in one call, over all its runs, with intervals; see also `courses`.

`runs` are the influence results by the seed of the run; one run alone is `{0: influence}`. Where a
value is the mean over single test examples, the interval is that of `combine_seeds`: other test
examples and, with several runs, other seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import xarray as xr

from sprachbund.analysis import confounds as controls
from sprachbund.analysis.decomposed import Decompositions, decomposed_runs
from sprachbund.analysis.measures import lift as over_chance
from sprachbund.analysis.measures import (
    mass_share,
    mass_weights,
    mean_influence,
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
from sprachbund.analysis.seeds import (
    average,
    check_same_cells,
    combine_seeds,
    quiet_about_signs,
    signs_agree,
)
from sprachbund.analysis.sharing import example_shares
from sprachbund.analysis.statistics import PERCENT, UNBOUNDED
from sprachbund.errors import InfluenceError
from sprachbund.influence import Influence, Sign

Runs = Mapping[int, Influence]
_CORRELATION = (-1.0, 1.0)


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
    return against_overall({seed: mean_influence(run.total()) for seed, run in runs.items()})


def against_overall(means: Mapping[int, xr.DataArray]) -> xr.Dataset:
    """What `mean_score` returns, of the mean influence by training language in each run."""
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


def reinforcement(runs: Runs, ks: Sequence[int] = (100,)) -> xr.Dataset:
    """How many proponents from other languages repeat the own language's; see `reinforcement_rate`.

    Returns: as `reinforcement_rate`, and `seed_standard_deviation` and `signs_agree` of `excess_percent`.
    Raises: InfluenceError if the training data is not parallel.
    """
    counts = {seed: reinforcement_counts(run.total(), ks) for seed, run in runs.items()}
    return _pooled(counts, reinforcement_rate, "excess_percent", 0.0)


def retrieval(runs: Runs, k: int = 100) -> xr.Dataset:
    """Are translations of own-language proponents found by influence; see `translation_retrieval`.

    Returns: as `translation_retrieval`, and `seed_standard_deviation` and `signs_agree` of `rank_percent`, of which 50
    is chance.
    Raises: InfluenceError if the training data is not parallel.
    """
    ranks = {seed: translation_ranks(run.total(), k) for seed, run in runs.items()}
    return _pooled(ranks, translation_retrieval, "rank_percent", 50.0)


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
    if not isinstance(distances, xr.Dataset):
        raise InfluenceError(
            f"distances are {type(distances).__name__}; expected a Dataset of [language, other_language], as "
            "sprachbund.data.distances reads it"
        )
    with quiet_about_signs():
        matrices = {
            "lift of the top k": lift(runs, (k,))["mean"].sel(k=k, drop=True),
            "lift of the mass": over_chance(mass(runs)["mean"]),
            "mean influence": mean_score(runs)["mean"],
        }
    found = [related(matrix, distances) for matrix in matrices.values()]
    joined = xr.concat(found, dim="measure", combine_attrs="override")
    return joined.assign_coords(measure=list(matrices)).assign_attrs(k=k)


def _tested(runs: Runs, weights: Callable[[xr.DataArray], xr.DataArray]) -> xr.Dataset:
    """`permutation_test` of what each training example adds, [test, train], averaged over the runs."""
    by_seed = {seed: weights(run.total()) for seed, run in runs.items()}
    check_same_cells(by_seed)
    return permutation_test(average(by_seed))


def _pooled(
    counts: Mapping[int, xr.Dataset],
    rate: Callable[[xr.Dataset], xr.Dataset],
    name: str,
    chance: float,
) -> xr.Dataset:
    """The rate over all runs, and, of the rate called `name`, the deviation between them and if their signs agree."""
    for measure in next(iter(counts.values())).data_vars:
        check_same_cells({seed: one[measure] for seed, one in counts.items()})
    stacked = xr.concat(list(counts.values()), "run", join="exact", combine_attrs="override")
    rates = xr.concat([rate(one)[name] for one in counts.values()], dim="run")
    return rate(stacked).assign(
        seed_standard_deviation=_spread(rates), signs_agree=signs_agree(rates, chance)
    )


def _spread(values: xr.DataArray) -> xr.DataArray:
    if values.sizes["run"] < 2:
        return values.isel(run=0, drop=True) * np.nan
    return values.std("run", ddof=1)
