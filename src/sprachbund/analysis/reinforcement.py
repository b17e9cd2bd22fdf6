"""Do other languages repeat what the test example's own language says, or add to it?

A proponent from another language is *reinforcing* when its translation is itself among the
proponents from the test example's own language, and *complementary* when it is not (Choenni et al.
2023). Both need parallel training data: what has no item is neither, and only counted as such. What has an
item that the own language does not have is complementary; the counts by chance allow for it.

Test languages that were not trained on have no own-language proponents, so that the question does
not arise: their test examples are not in the results, and the attribute `left_out` names them.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from sprachbund.analysis.labels import example_coords
from sprachbund.analysis.measures import KS, by_test_language
from sprachbund.analysis.parallel import Codes, Flags, Parallel, find_translations
from sprachbund.analysis.seeds import percentage_over_runs
from sprachbund.analysis.statistics import POINTS
from sprachbund.analysis.tops import check_ks, ranking


def reinforcement(scores: xr.DataArray, ks: Sequence[int] = KS) -> xr.Dataset:
    """How many of each test example's top-k proponents reinforce those from its own language.

    `scores` is [test, train]: `Influence.total()` or `Influence.at(step)`.

    Returns: counts [k, test, train_language]: `reinforcing`, `complementary`, and
    `expected_reinforcing`: if as many examples were drawn at random from those of the
    language, how many would be translations of the own-language proponents (the mean of a
    hypergeometric distribution); `expected_given_labels`: the same if as many of each label were drawn from those of
    the language and label. Translations have one label, and proponents often that of the test example: the second is
    what influence by label alone would give. `without_item`: proponents that have no item, in none of the others.
    NaN for the own language, and for a language that has no item in common with it in the training set.
    Raises: InfluenceError if the training data is not parallel, if no test language was trained
    on, or if a k exceeds the number of training examples.
    """
    check_ks(ks, scores.sizes["train"])
    data = find_translations(scores)
    first_MR = ranking(data.scores, max(ks)).values
    counts = np.stack([_counts(data, first_MR[:, :k]) for k in ks])
    dims = ("k", "test", "train_language")
    names = (
        *("reinforcing", "complementary", "expected_reinforcing", "expected_given_labels"),
        "without_item",
    )
    return xr.Dataset(
        {name: (dims, counts[:, i]) for i, name in enumerate(names)},
        coords={
            **example_coords(data.scores),
            "k": list(ks),
            "train_language": data.languages,
        },
        attrs={"left_out": data.left_out},
    )


def reinforcement_rate(counts: xr.Dataset) -> xr.Dataset:
    """Percentage of the proponents from another language that are reinforcing, by language pair.

    `counts` as `reinforcement` returns them, or those of several runs along `run`: then the rate is that of their
    mean counts, and the intervals are for other test examples and other seeds (`percentage_over_runs`). The rest are
    complementary. All proponents of a language pair count alike: a test example with many of them counts more than
    one with few.

    Returns: [k, test_language, train_language], percent: `reinforcing_percent`, `complementary_percent` (the rest),
    `expected_percent` (reinforcing, drawn at random), `excess_percent` (the difference, in percentage points),
    `expected_given_labels_percent` and `excess_given_labels_percent` (drawn at random with the same labels), and
    `_low` and `_high` of the first two and of both differences (see `ratio_intervals`), and `n_clusters`, of those with
    a proponent from the language. Also what a test example has in the mean: `n_proponents` from the language with an
    item, which the percentages are of, and `n_without_item`, which are left out. NaN for the own language, for pairs
    without common items, and where no proponent is from the language.
    """
    runs = counts if "run" in counts.dims else counts.expand_dims("run")
    found, total = runs["reinforcing"], runs["reinforcing"] + runs["complementary"]
    rates = {
        "reinforcing_percent": percentage_over_runs(found, total),
        "complementary_percent": percentage_over_runs(runs["complementary"], total),
    }
    chances = {"": runs["expected_reinforcing"], "_given_labels": runs["expected_given_labels"]}
    for given, drawn in chances.items():
        rates[f"expected{given}_percent"] = percentage_over_runs(drawn, total)
        rates[f"excess{given}_percent"] = percentage_over_runs(found - drawn, total, POINTS)
    variables = {name: rate["mean"] for name, rate in rates.items()}
    for name, rate in rates.items():
        if not name.startswith("expected"):
            variables |= {f"{name}_{limit}": rate[limit] for limit in ("low", "high")}
    variables["n_clusters"] = rates["reinforcing_percent"]["n_clusters"]
    for name, counted in (("n_proponents", total), ("n_without_item", runs["without_item"])):
        variables[name] = by_test_language(counted.mean("run", skipna=False))
    return xr.Dataset(variables, attrs=counts.attrs)


def _counts(data: Parallel, first_MR: Codes) -> npt.NDArray[np.float64]:
    """Reinforcing, complementary, expected reinforcing, also given labels, without item: [5, test, language]."""
    n_test, n_items = len(first_MR), len(data.translation_IL)
    items_MR, languages_MR = data.item_N[first_MR], data.language_N[first_MR]
    known_MR = items_MR >= 0
    rows_MR = np.broadcast_to(np.arange(n_test)[:, None], first_MR.shape)
    own_MR = known_MR & (languages_MR == data.own_M[:, None])
    own_items_MI = np.zeros((n_test, n_items), dtype=bool)
    own_items_MI[rows_MR[own_MR], items_MR[own_MR]] = True
    reinforcing_MR = known_MR & own_items_MI[rows_MR, items_MR]
    n_languages = len(data.languages)
    (with_item,) = np.nonzero(data.item_N >= 0)

    def counted(chosen_MR: Flags, kind_N: Codes, n_kinds: int) -> npt.NDArray[np.float64]:
        """How many of the chosen are of each kind, [test, kind]."""
        found = np.zeros((n_test, n_kinds))
        np.add.at(found, (rows_MR[chosen_MR], kind_N[first_MR][chosen_MR]), 1.0)
        return found

    def expected(kind_N: Codes, n_kinds: int) -> npt.NDArray[np.float64]:
        """How many would be reinforcing if as many of each kind were drawn from those of the kind, [test, kind]."""
        present_IC = np.zeros((n_items, n_kinds))
        np.add.at(present_IC, (data.item_N[with_item], kind_N[with_item]), 1.0)
        share_MC = own_items_MI @ present_IC / np.maximum(present_IC.sum(axis=0), 1)
        result: npt.NDArray[np.float64] = counted(known_MR, kind_N, n_kinds) * share_MC
        return result

    reinforcing_ML, drawn_ML, without_ML = (
        counted(chosen_MR, data.language_N, n_languages)
        for chosen_MR in (reinforcing_MR, known_MR, ~known_MR)
    )
    by_label = expected(data.kind_N, n_languages * data.n_labels)
    found = np.stack(
        [
            reinforcing_ML,
            drawn_ML - reinforcing_ML,
            expected(data.language_N, n_languages),
            by_label.reshape(n_test, n_languages, data.n_labels).sum(axis=2),
            without_ML,
        ]
    )
    return np.where(data.shared_ML, found, np.nan)
