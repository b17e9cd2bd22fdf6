"""Which training examples are translations of one another, as the test examples see it.

Test examples of languages that were not trained on have no own-language proponents and are left
out, by name.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from sprachbund.analysis.labels import in_order, language_codes
from sprachbund.errors import InfluenceError

Codes = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


class Parallel(NamedTuple):
    """A score matrix without the test examples of languages that were not trained on."""

    scores: xr.DataArray  # [test, train]
    languages: list[str]
    language_N: Codes
    item_N: Codes  # -1 where there is none
    label_N: Codes
    translation_IL: Codes  # position of the training example of an item in a language, or -1
    own_M: Codes  # the language of each test example
    shared_ML: Flags  # has the language items in common with the test example's? False for its own
    left_out: tuple[str, ...]

    @property
    def n_labels(self) -> int:
        return int(self.label_N.max()) + 1

    @property
    def kind_N(self) -> Codes:
        """Language and label in one code, those of a language side by side."""
        return self.language_N * self.n_labels + self.label_N


def find_translations(scores: xr.DataArray) -> Parallel:
    """Index the translations in the training set of a score matrix [test, train].

    Raises: InfluenceError if no test language was trained on, if none has items in common with
    another training language, or if an item has two training examples in one language.
    """
    language_N, languages = language_codes(scores["train_language"])
    test_languages = scores["test_language"].values.astype(object)
    trained = np.isin(test_languages, np.array(languages, dtype=object))
    left_out = tuple(in_order(test_languages[~trained]))
    if not trained.any():
        raise InfluenceError(
            f"none of the test languages ({', '.join(left_out)}) was trained on: without proponents "
            "from its own language, no proponent reinforces or complements them"
        )
    item_N = _item_codes(scores, language_N)
    translation_IL = np.full((int(item_N.max()) + 1, len(languages)), -1, dtype=np.intp)
    (known,) = np.nonzero(item_N >= 0)
    translation_IL[item_N[known], language_N[known]] = known
    present_IL = (translation_IL >= 0).astype(np.int64)
    shared_LL = (present_IL.T @ present_IL > 0) & ~np.eye(len(languages), dtype=bool)
    own_M = pd.Index(languages).get_indexer(test_languages[trained].tolist())
    if not shared_LL[own_M].any():
        raise InfluenceError(
            "the training data is not parallel: no item of a test language "
            f"({', '.join(in_order(test_languages[trained]))}) is in another training language, so "
            "that no proponent has a translation; give `item` where the data is parallel"
        )
    return Parallel(
        scores.transpose("test", "train").isel(test=np.flatnonzero(trained)),
        languages,
        language_N,
        item_N,
        pd.factorize(scores["train_label"].values.astype(object))[0].astype(np.intp),
        translation_IL,
        own_M,
        shared_LL[own_M],
        left_out,
    )


def _item_codes(scores: xr.DataArray, language_N: Codes) -> Codes:
    items = scores["train_item"].values.astype(object)
    codes = pd.factorize(items)[0].astype(np.intp)
    item_N = np.where(items == "", -1, codes)
    pairs = pd.DataFrame({"item": item_N, "language": language_N})
    again = pairs.duplicated().to_numpy() & (item_N >= 0)
    if again.any():
        n = int(again.argmax())
        raise InfluenceError(
            f'item "{items[n]}" has two training examples in {scores["train_language"].values[n]}; '
            "an item has at most one in a language"
        )
    return item_N
