"""Do other languages repeat what the test example's own language says, or add to it?

A proponent from another language is *reinforcing* when its translation is itself among the
proponents from the test example's own language, and *complementary* when it is not (Choenni et al.
2023). Both need parallel training data: what has no item is left out of every count here.

Test languages that were not trained on have no own-language proponents, so that the question does
not arise: their test examples are not in the results, and the attribute `left_out` names them.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from sprachbund.analysis.labels import example_coords
from sprachbund.analysis.measures import KS, check_ks, ranking
from sprachbund.analysis.parallel import Codes, Flags, Parallel, find_translations
from sprachbund.analysis.seeds import percentage_over_runs
from sprachbund.analysis.statistics import PERCENT


def reinforcement(scores: xr.DataArray, ks: Sequence[int] = KS) -> xr.Dataset:
    """How many of each test example's top-k proponents reinforce those from its own language.

    `scores` is [test, train]: `Influence.total()` or `Influence.at(step)`.

    Returns: counts [k, test, train_language]: `reinforcing`, `complementary`, and
    `expected_reinforcing`: if as many examples were drawn at random from those of the
    language, how many would be translations of the own-language proponents (the mean of a
    hypergeometric distribution). NaN for the own language, and for a language that has no
    item in common with it in the training set.
    Raises: InfluenceError if the training data is not parallel, if no test language was trained
    on, or if a k exceeds the number of training examples.
    """
    check_ks(ks, scores.sizes["train"])
    data = find_translations(scores)
    first_MR = ranking(data.scores, max(ks)).values
    counts = np.stack([_counts(data, first_MR[:, :k]) for k in ks])
    dims = ("k", "test", "train_language")
    names = ("reinforcing", "complementary", "expected_reinforcing")
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

    Returns: [k, test_language, train_language], percent: `reinforcing_percent`, `expected_percent`
    (drawn at random), `excess_percent` (the difference, in percentage points), and `_low` and
    `_high` of the first and the last (see `ratio_intervals`). NaN for the own language, for
    pairs without common items, and where no proponent is from the language.
    """
    runs = counts if "run" in counts.dims else counts.expand_dims("run")
    total = runs["reinforcing"] + runs["complementary"]
    excess = runs["reinforcing"] - runs["expected_reinforcing"]
    rates = {
        "reinforcing_percent": percentage_over_runs(runs["reinforcing"], total, PERCENT),
        "expected_percent": percentage_over_runs(runs["expected_reinforcing"], total, PERCENT),
        "excess_percent": percentage_over_runs(excess, total, (-100.0, 100.0)),
    }
    variables = {name: rate["mean"] for name, rate in rates.items()}
    for name in ("reinforcing_percent", "excess_percent"):
        variables |= {f"{name}_{limit}": rates[name][limit] for limit in ("low", "high")}
    return xr.Dataset(variables, attrs=counts.attrs)


def _counts(data: Parallel, first_MR: Codes) -> npt.NDArray[np.float64]:
    """Reinforcing, complementary, expected reinforcing, of the top k: [3, test, language]."""
    n_test, n_items = len(first_MR), len(data.translation_IL)
    items_MR, languages_MR = data.item_N[first_MR], data.language_N[first_MR]
    known_MR = items_MR >= 0
    rows_MR = np.broadcast_to(np.arange(n_test)[:, None], first_MR.shape)
    own_MR = known_MR & (languages_MR == data.own_M[:, None])
    own_items_MI = np.zeros((n_test, n_items), dtype=bool)
    own_items_MI[rows_MR[own_MR], items_MR[own_MR]] = True
    reinforcing_MR = known_MR & own_items_MI[rows_MR, items_MR]

    def by_language(chosen_MR: Flags) -> npt.NDArray[np.float64]:
        found = np.zeros((n_test, len(data.languages)))
        np.add.at(found, (rows_MR[chosen_MR], languages_MR[chosen_MR]), 1.0)
        return found

    present_IL = (data.translation_IL >= 0).astype(np.float64)
    translations_ML = own_items_MI @ present_IL
    drawn_ML = by_language(known_MR)
    with np.errstate(invalid="ignore"):  # a language without any item has no rate
        expected_ML = drawn_ML * translations_ML / present_IL.sum(axis=0)
    reinforcing_ML = by_language(reinforcing_MR)
    found = np.stack([reinforcing_ML, drawn_ML - reinforcing_ML, expected_ML])
    return np.where(data.shared_ML, found, np.nan)
