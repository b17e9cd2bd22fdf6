"""Do two runs rely on the same training examples for the same predictions?

For a run that had a language in training and one that had not: what of the other languages is
relied on in both. Training and test examples are matched by id. Chance is not the only thing to
compare with: two seeds of one run overlap less than wholly too.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy.stats import hypergeom

from sprachbund.analysis.labels import example_coords, in_order
from sprachbund.analysis.measures import by_test_language
from sprachbund.analysis.seeds import average, combine_seeds, quiet_about_signs
from sprachbund.analysis.tops import ranking
from sprachbund.errors import InfluenceError
from sprachbund.influence import Influence, Sign

Array = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]
PERSISTENCE = 0.98
_MEASURED = (
    "jaccard",
    "expected_jaccard",
    "expected_jaccard_given_labels",
    "rank_biased_overlap",
    "expected_rank_biased_overlap",
    "n_candidates",
)
_MUST_AGREE = ("language", "text", "text_pair")


def overlap(
    one: Influence,
    other: Influence,
    k: int = 100,
    sign: Sign = "proponents",
    persistence: float = PERSISTENCE,
) -> xr.Dataset:
    """How far two runs agree on which examples of the other languages a test example relies on.

    For each test example of both runs: its top k by the total among the training examples that
    both runs had, those of its own language left out, so that a language that only one run had
    cannot make the difference by itself. Equal scores are in another random order in each run: they agree by chance.

    Returns: [test], from 0 to 1: `jaccard`, `expected_jaccard` (two sets of k drawn at random) and
    `expected_jaccard_given_labels` (drawn at random, as many of each label as each run has),
    `rank_biased_overlap` (see there) and `expected_rank_biased_overlap` (two random rankings),
    and `n_candidates`, the examples that were ranked.
    Raises: InfluenceError if the runs have no test or too few training examples in common, or
    different examples under one id.
    """
    _check_persistence(persistence)
    first, second = _in_common(one, other)
    test_languages = first["test_language"].values.astype(object)
    train_languages = first["train_language"].values.astype(object)
    measured = np.empty((len(test_languages), len(_MEASURED)))
    for language in in_order(test_languages):
        (rows,) = np.nonzero(test_languages == language)
        (columns,) = np.nonzero(train_languages != language)
        if len(columns) < k:
            raise InfluenceError(
                f"k is {k}, but the runs have only {len(columns)} training examples in common that "
                f"are not in {language}; lower k"
            )
        tops = _tops([s.isel(test=rows, train=columns) for s in (first, second)], k, sign)
        labels = pd.factorize(first["train_label"].values[columns].astype(object))[0]
        measured[rows] = np.column_stack(
            [
                jaccard(*tops),
                np.full(len(rows), expected_jaccard(len(columns), k)),
                expected_jaccard_given(labels, *tops),
                rank_biased_overlap(*tops, persistence),
                np.full(len(rows), expected_rank_biased_overlap(len(columns), k, persistence)),
                np.full(len(rows), len(columns)),
            ]
        )
    return xr.Dataset(
        {name: ("test", column) for name, column in zip(_MEASURED, measured.T, strict=True)},
        coords=example_coords(first),
        attrs={"k": k, "sign": sign, "persistence": persistence},
    )


def overlap_by_language(overlaps: xr.Dataset) -> xr.Dataset:
    """The means of `overlap` over the test examples of each language, with intervals.

    Returns: [test_language]: `jaccard`, `rank_biased_overlap`, `_low` and `_high` of both (see
    `mean_intervals`), `expected_jaccard`, `expected_rank_biased_overlap`, `n_candidates`,
    `expected_jaccard_given_labels` (mean), `n_clusters`.
    """
    return overlap_over_seeds({0: overlaps}).drop_vars("seed_standard_deviation")


def overlap_over_seeds(overlaps: Mapping[int, xr.Dataset]) -> xr.Dataset:
    """`overlap_by_language` over several pairs of runs of the same examples, by their seed.

    The intervals are for other test examples and other seeds (`combine_seeds`).

    Returns: as `overlap_by_language`, and `seed_standard_deviation` of `jaccard`.
    Raises: InfluenceError if the pairs do not have the same test examples.
    """
    first = next(iter(overlaps.values()))
    variables: dict[str, xr.DataArray] = {}
    for name in ("rank_biased_overlap", "jaccard"):
        with quiet_about_signs():
            values = {seed: one[name] for seed, one in overlaps.items()}
            found = combine_seeds(values, by_test_language(first[f"expected_{name}"]), (0.0, 1.0))
        variables |= {name: found["mean"], f"{name}_low": found["low"]}
        variables |= {f"{name}_high": found["high"], "n_clusters": found["n_clusters"]}
    variables["seed_standard_deviation"] = found["seed_standard_deviation"]
    given_labels = {seed: one["expected_jaccard_given_labels"] for seed, one in overlaps.items()}
    variables["expected_jaccard_given_labels"] = by_test_language(
        average(given_labels)
    ).reset_coords(drop=True)
    a_test = first.isel(test=np.unique(first["test_language"].values, return_index=True)[1])
    order = variables["jaccard"]["test_language"].values
    fixed = a_test.swap_dims(test="test_language").sel(test_language=order)
    for name in ("expected_jaccard", "expected_rank_biased_overlap", "n_candidates"):
        variables[name] = fixed[name].reset_coords(drop=True)
    return xr.Dataset(variables, attrs=first.attrs)


def jaccard(first_MK: Positions, second_MK: Positions) -> Array:
    """Size of the intersection over that of the union of two sets of k examples, [test]."""
    k = first_MK.shape[1]
    common_M = _shared_by_depth(first_MK, second_MK)[:, -1]
    index: Array = common_M / (2 * k - common_M)
    return index


def expected_jaccard(n: int, k: int) -> float:
    """Mean Jaccard index of two sets of k drawn at random from n.

    The size of the intersection has a hypergeometric distribution.
    """
    common = np.arange(k + 1)
    return float(np.sum(hypergeom.pmf(common, n, k, k) * common / (2 * k - common)))


def expected_jaccard_given(labels_N: Positions, first_MK: Positions, second_MK: Positions) -> Array:
    """`expected_jaccard` where each set has as many examples of each label as it has, [test].

    The size of the intersection is a sum of independent hypergeometric numbers, one for each label.
    """
    n_labels, k = int(labels_N.max()) + 1, first_MK.shape[1]
    size_L = np.bincount(labels_N, minlength=n_labels)
    expected = np.empty(len(first_MK))
    for m, tops in enumerate(zip(first_MK, second_MK, strict=True)):
        probability = np.ones(1)
        drawn = [np.bincount(labels_N[top], minlength=n_labels) for top in tops]
        for size, one, other in zip(size_L, *drawn, strict=True):
            of_label = hypergeom.pmf(np.arange(min(one, other) + 1), size, one, other)
            probability = np.convolve(probability, of_label)
        common = np.arange(len(probability))
        expected[m] = probability @ (common / (2 * k - common))
    return expected


def rank_biased_overlap(
    first_MK: Positions, second_MK: Positions, persistence: float = PERSISTENCE
) -> Array:
    """Extrapolated rank-biased overlap of two rankings of k examples, [test].

    Webber, Moffat and Zobel (2010), A similarity measure for indefinite rankings, equation 30:
    the agreement |A and B| / d of the first d, averaged over depths d with the weights of a reader
    who goes on from each rank to the next with probability `persistence`, the agreement at depth k
    taken to go on beyond it. 1 for equal rankings, 0 for disjoint ones.
    """
    shared_MK = _shared_by_depth(first_MK, second_MK)
    depth_K = np.arange(1, shared_MK.shape[1] + 1)
    return _averaged(shared_MK / depth_K, persistence)


def expected_rank_biased_overlap(n: int, k: int, persistence: float = PERSISTENCE) -> float:
    """Mean of `rank_biased_overlap` over random rankings of n: their first d agree by d / n."""
    return float(_averaged(np.arange(1, k + 1)[None] / n, persistence)[0])


def _tops(scores: list[xr.DataArray], k: int, sign: Sign) -> tuple[Positions, Positions]:
    first, second = (ranking(one, k, sign, ties=n).values for n, one in enumerate(scores))
    return first, second


def _averaged(agreement_MK: Array, persistence: float) -> Array:
    k = agreement_MK.shape[1]
    weights_K = (1 - persistence) * persistence ** np.arange(k)
    averaged: Array = agreement_MK @ weights_K + agreement_MK[:, -1] * persistence**k
    return averaged


def _shared_by_depth(first_MK: Positions, second_MK: Positions) -> Array:
    """How many examples are among the first d of both rankings, [test, d]."""
    n_test, k = first_MK.shape
    n = int(max(first_MK.max(), second_MK.max())) + 1
    ranks = np.full((2, n_test, n), k)
    for rank_MN, top_MK in zip(ranks, (first_MK, second_MK), strict=True):
        np.put_along_axis(rank_MN, top_MK, np.arange(k)[None], axis=1)
    enters_MN = ranks.max(axis=0)  # the depth at which both rankings have the example
    rows, columns = np.nonzero(enters_MN < k)
    counts = np.zeros((n_test, k))
    np.add.at(counts, (rows, enters_MN[rows, columns]), 1.0)
    return counts.cumsum(axis=1)


def _in_common(one: Influence, other: Influence) -> list[xr.DataArray]:
    """The total scores of both runs over the examples that both have, in one order."""
    chosen = {}
    for dim in ("test", "train"):
        theirs = set(other.dataset[dim].values.tolist())
        chosen[dim] = [name for name in one.dataset[dim].values.tolist() if name in theirs]
        if not chosen[dim]:
            raise InfluenceError(
                f"the two runs have no {dim} example in common (by id): there is nothing to compare"
            )
    scores = [influence.total().sel(chosen) for influence in (one, other)]
    for dim, names in chosen.items():
        for column in _MUST_AGREE:
            ours, theirs_too = (found[f"{dim}_{column}"].values for found in scores)
            (different,) = np.nonzero(ours != theirs_too)
            if len(different):
                n = different[0]
                raise InfluenceError(
                    f'the {dim} example "{names[n]}" has the {column} "{ours[n]}" in one run and '
                    f'"{theirs_too[n]}" in the other: ids must name the same examples in both'
                )
    return scores


def _check_persistence(persistence: float) -> None:
    if not 0 < persistence < 1:
        raise InfluenceError(f"persistence is {persistence}; it must lie between 0 and 1")
