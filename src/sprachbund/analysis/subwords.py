"""How much of its sub-words a language shares with another, measured on the data itself.

Token ids go in, one array for each language; similarities come out. One minus a similarity is a
distance for `relations`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from sprachbund.errors import InfluenceError

Tokens = Mapping[str, npt.NDArray[np.integer[Any]]]


def type_overlap(tokens: Tokens) -> xr.DataArray:
    """Jaccard index of the sets of sub-words that two languages use.

    More text has more sub-words: of each language only as many tokens count, the first ones, as
    the language with the fewest has.

    Returns: [language, other_language], from 0 to 1; 1 for a language with itself.
    Raises: InfluenceError if a language has no tokens.
    """
    n = _fewest(tokens)
    used_LV = _counts({language: ids[:n] for language, ids in tokens.items()}) > 0
    sizes_L = used_LV.sum(axis=1)
    common_LL = used_LV.astype(np.int64) @ used_LV.T.astype(np.int64)
    return _labelled(common_LL / (sizes_L[:, None] + sizes_L - common_LL), tokens)


def token_overlap(tokens: Tokens) -> xr.DataArray:
    """Overlap coefficient of the multisets of sub-words: sum of min(p, q), p and q the frequencies.

    The share of running text in the one language whose sub-words the other has as often. Frequent
    sub-words count as often as they occur: punctuation and digits too.

    Returns: [language, other_language], from 0 to 1; 1 for a language with itself.
    Raises: InfluenceError if a language has no tokens.
    """
    _fewest(tokens)
    counts_LV = _counts(tokens)
    frequency_LV = counts_LV / counts_LV.sum(axis=1, keepdims=True)
    shared = [np.minimum(frequency_LV, row).sum(axis=1) for row in frequency_LV]
    return _labelled(np.stack(shared), tokens)


def _fewest(tokens: Tokens) -> int:
    sizes = {language: len(ids) for language, ids in tokens.items()}
    empty = [language for language, size in sizes.items() if size == 0]
    if empty or not sizes:
        raise InfluenceError(f"no tokens are given for {', '.join(empty) or 'any language'}")
    return min(sizes.values())


def _counts(tokens: Tokens) -> npt.NDArray[np.float64]:
    """How often each language has each token id, [language, id]."""
    width = max(int(ids.max()) for ids in tokens.values()) + 1
    rows = [np.bincount(ids, minlength=width) for ids in tokens.values()]
    return np.stack(rows).astype(np.float64)


def _labelled(values_LL: npt.NDArray[np.float64], tokens: Tokens) -> xr.DataArray:
    coords = {"language": list(tokens), "other_language": list(tokens)}
    return xr.DataArray(values_LL, dims=("language", "other_language"), coords=coords)
