"""Is the translation of what speaks for a test example found by its influence too?"""

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.stats import rankdata

from sprachbund.analysis.labels import example_coords
from sprachbund.analysis.parallel import Codes, Parallel, find_translations
from sprachbund.analysis.seeds import percentage_over_runs
from sprachbund.analysis.tops import check_ks, ranking


def translation_ranks(scores: xr.DataArray, k: int = 100) -> xr.Dataset:
    """Where the translations of own-language proponents stand among the examples of their language.

    `scores` is [test, train]. For each test example, its own-language proponents (those among its
    top k, in order), and of the translation of each into every other language: its `rank`, from
    1, among all the training examples of that language, and `rank_in_label` among those of them that have its label,
    of which there are `n_in_label`.

    Returns: [test, proponent, train_language]; `proponent` counts from 1. NaN where a test
    example has fewer own-language proponents, where there is no translation, and for the
    own language. `n_train` [train_language] is the number of examples that are ranked.
    Raises: InfluenceError as `reinforcement`.
    """
    check_ks((k,), scores.sizes["train"])
    data = find_translations(scores)
    kind_N = data.kind_N
    found_N = {
        "rank": _ranks_within(data, data.language_N),
        "rank_in_label": _ranks_within(data, kind_N),
        "n_in_label": np.broadcast_to(np.bincount(kind_N)[kind_N], data.scores.shape),
    }
    n_test, n_languages = len(data.own_M), len(data.languages)
    results = {name: np.full((n_test, k, n_languages), np.nan) for name in found_N}
    for m, first in enumerate(ranking(data.scores, k).values):
        own = first[data.language_N[first] == data.own_M[m]]
        items = data.item_N[own]
        positions = np.where(items[:, None] >= 0, data.translation_IL[items], -1)
        known = (positions >= 0) & data.shared_ML[m]
        for name, values_MN in found_N.items():
            results[name][m, : len(own)][known] = values_MN[m, positions[known]]
    return xr.Dataset(
        {
            name: (("test", "proponent", "train_language"), values)
            for name, values in results.items()
        },
        coords={
            **example_coords(data.scores),
            "proponent": np.arange(1, k + 1),
            "train_language": data.languages,
            "n_train": ("train_language", np.bincount(data.language_N)),
        },
        attrs={"k": k, "left_out": data.left_out},
    )


def translation_retrieval(ranks: xr.Dataset, first: int = 10) -> xr.Dataset:
    """How well translations are found by influence, by language pair.

    `ranks` as `translation_ranks` returns them, or those of several runs along `run`: then the intervals are for other
    test examples and other seeds (`percentage_over_runs`). All own-language proponents of a language's test examples
    together.

    Returns: [test_language, train_language]: `rank_percent`, the mean of (rank - 1/2) / number of
    examples (50 by chance, near 0 if translations are found); `rank_in_label_percent`, the same among the examples
    that have the translation's label (50 if influence tells labels apart and nothing else); `found_percent`, how many
    are among the `first` of their language, with `found_chance_percent`; `_low` and `_high` of all three;
    `n_translations` that were looked for, in the mean of the runs, and `n_clusters`, of the test examples with any. NaN
    where there were none.
    """
    runs = ranks if "run" in ranks.dims else ranks.expand_dims("run")
    rank, n_train = runs["rank"], runs["n_train"]
    known = rank.notnull()
    looked_for = known.sum("proponent")
    found = ((rank <= first) & known).sum("proponent")
    in_label = (runs["rank_in_label"] - 0.5) / runs["n_in_label"]
    rates = {
        "rank_percent": percentage_over_runs(((rank - 0.5) / n_train).sum("proponent"), looked_for),
        "rank_in_label_percent": percentage_over_runs(in_label.sum("proponent"), looked_for),
        "found_percent": percentage_over_runs(found, looked_for),
    }
    variables = {name: rate["mean"] for name, rate in rates.items()}
    for name, rate in rates.items():
        variables |= {f"{name}_{limit}": rate[limit] for limit in ("low", "high")}
    chance = 100.0 * n_train.clip(max=first) / n_train
    languages = rates["rank_percent"]["test_language"].values
    variables["found_chance_percent"] = chance
    variables["n_translations"] = (
        looked_for.mean("run").groupby("test_language").sum().sel(test_language=languages)
    )
    variables["n_clusters"] = rates["rank_percent"]["n_clusters"]
    return xr.Dataset(variables, attrs={**ranks.attrs, "first": first})


def _ranks_within(data: Parallel, kind_N: Codes) -> npt.NDArray[np.float64]:
    """Rank, from 1, of each training example among those of its kind, [test, train]; equal scores share their ranks."""
    values = data.scores.transpose("test", "train").values
    ranks_MN = np.empty(values.shape)
    for kind in np.unique(kind_N):
        (columns,) = np.nonzero(kind_N == kind)
        ranks_MN[:, columns] = rankdata(-values[:, columns], axis=1)
    return ranks_MN
