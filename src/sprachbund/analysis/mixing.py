"""How accuracy and own-language share change with the mix of fine-tuning languages.

`correct` is what `correctness` makes of each run's predictions, by seed: all mixes on the same test
examples. Differences are taken test example by test example and seed by seed, so that what makes an
example hard, or a seed lucky, cancels out before anything is averaged.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from sprachbund.analysis.dynamics import own_share
from sprachbund.analysis.interval_tests import with_p_values
from sprachbund.analysis.measures import by_test_language
from sprachbund.analysis.seeds import (
    average,
    combine_seeds,
    limits_where_any_differs,
    quiet_about_signs,
)
from sprachbund.analysis.statistics import PERCENT, POINTS
from sprachbund.errors import InfluenceError

Correct = Mapping[int, xr.DataArray]
_LEVEL = 0.95
_EXAMPLE = ("language", "item", "group", "label")
_NUMBERS = ("mean", "low", "high", "seed_standard_deviation")


def correctness(predictions: Mapping[str, pd.DataFrame]) -> xr.DataArray:
    """Which test examples each mix gets right: 100 or 0, so that a mean is an accuracy in percent.

    Of one seed; `predictions` by mix, with the columns id, language, item, group, label, prediction.

    Returns: [mix, test], percent, with the coordinates of the test examples.
    Raises: InfluenceError if the mixes were not measured on the same test examples.
    """
    frames = list(predictions.values())
    examples = frames[0]
    for name, frame in predictions.items():
        if not frame[["id", "label"]].equals(examples[["id", "label"]]):
            first = next(iter(predictions))
            raise InfluenceError(
                f"the mixes {first} and {name} were measured on different test examples"
            )
    right = [(frame["prediction"] == frame["label"]).to_numpy() for frame in frames]
    texts = {name: examples[name].to_numpy(dtype=object) for name in ("id", *_EXAMPLE)}
    coords = {f"test_{name}": ("test", texts[name]) for name in _EXAMPLE}
    return xr.DataArray(
        100.0 * np.stack(right),
        dims=("mix", "test"),
        coords={"mix": list(predictions), "test": texts["id"], **coords},
    )


def accuracy(correct: Correct) -> xr.Dataset:
    """Accuracy of each mix by test language, with intervals for other test examples and seeds.

    Returns: what `combine_seeds` returns, [mix, test_language], percent.
    """
    with quiet_about_signs():
        return combine_seeds(correct, 0.0, PERCENT)


def accuracy_change(correct: Correct, study: str) -> xr.Dataset:
    """Accuracy of each mix less that of the mix `study`, paired by seed and test example.

    Returns: what `combine_seeds` returns, [mix, test_language], percentage points, with `p_value` and `q_value`; no
        interval where the two are right and wrong alike.
    """
    return _paired({seed: c - c.sel(mix=study, drop=True) for seed, c in correct.items()})


def contributions(correct: Correct, study: str, without: Mapping[str, str]) -> xr.Dataset:
    """What each language adds: accuracy of the mix `study` less that of the mix without the language, paired.

    `without` names that mix for each language.

    Returns: what `combine_seeds` returns, [left_out, test_language], percentage points, with `p_value` and `q_value`:
        above 0 where the language helps.
    """
    differences = {}
    for seed, c in correct.items():
        left_out = c.sel(mix=list(without.values())).rename(mix="left_out")
        left_out = left_out.assign_coords(left_out=list(without))
        differences[seed] = (c.sel(mix=study, drop=True) - left_out).transpose("left_out", "test")
    return _paired(differences)


def gains_of_pairs(correct: Correct, pairs: Mapping[tuple[str, str], str]) -> xr.Dataset:
    """Accuracy of a mix of two less that of the better of the two alone, paired.

    `pairs` names the mix for the two mixes that it joins. Which of these is better is decided for each test
    language by the mean over the runs, on the same test examples: it is, if anything, a lucky one, so that a
    gain above 0 is on the safe side.

    Returns: what `combine_seeds` returns, [pair, test_language], percentage points, with `p_value` and `q_value`,
        and `better` [pair, test_language], the mix that was better alone. `pair` is the name of the mix of two.
    """
    means = by_test_language(average(correct))
    first, second = (means.sel(mix=[pair[i] for pair in pairs]).values for i in (0, 1))
    is_first = first >= second  # [pair, test_language]
    columns = means.get_index("test_language").get_indexer(
        next(iter(correct.values()))["test_language"].values.tolist()
    )
    differences = {}
    for seed, c in correct.items():
        one, other = (c.sel(mix=[pair[i] for pair in pairs]).values for i in (0, 1))
        both = c.sel(mix=list(pairs.values())).rename(mix="pair")
        alone = np.where(is_first[:, columns], one, other)
        differences[seed] = both.copy(data=both.values - alone)
    names = np.array(list(pairs), dtype=object)
    better = np.where(is_first, names[:, :1], names[:, 1:])
    return _paired(differences).assign(better=(("pair", "test_language"), better))


def own_shares(shares: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Share of the top k in the test example's own language, beside that language's part of the training data.

    `shares` by mix: what `answers.share` finds, [test_language, train_language].

    Returns: `mean`, `low`, `high`, `seed_standard_deviation` and `expected_percent` (the part of the training
        data, which is chance), percent, `lift`, and `signs_agree`, each [mix, test_language]; NaN where a mix has
        none of a language.
    """
    found = []
    for share in shares.values():
        own = xr.Dataset({name: own_share(share[name]) for name in _NUMBERS})
        # Where there is no own language, seeds have nothing to disagree on.
        agree = own_share(share["signs_agree"].astype(np.float64)).fillna(1.0).astype(bool)
        tested = share["test_language"].values.tolist()
        expected = share["expected_percent"].reindex(train_language=tested).values
        found.append(
            own.drop_vars("expected_percent").assign(
                signs_agree=agree.drop_vars("expected_percent"),
                expected_percent=("test_language", expected),
            )
        )
    joined = xr.concat(found, dim="mix", join="exact", coords="minimal", compat="override")
    joined = joined.assign_coords(mix=list(shares))
    return joined.assign(lift=joined["mean"] / joined["expected_percent"])


def _paired(differences: Correct) -> xr.Dataset:
    """The differences with intervals, and p and q values of being none (Benjamini-Hochberg over all cells)."""

    def interval(level: float) -> xr.Dataset:
        with quiet_about_signs():  # a column says it
            found = combine_seeds(differences, 0.0, POINTS, level=level)
        return limits_where_any_differs(found, differences)

    return with_p_values(interval)
