"""Does influence go with plain properties of the training examples: length, norm, loss?

Whatever makes examples of one language long, or hard, would make their language look influential.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.stats import rankdata

from sprachbund.analysis.labels import example_coords, language_codes
from sprachbund.errors import InfluenceError
from sprachbund.influence import Influence

Array = npt.NDArray[np.float64]
Given = Mapping[str, npt.ArrayLike]
_IN_DATASET = {"gradient_norm": "train_gradient_norm", "loss": "train_loss"}


def train_properties(influence: Influence, given: Given | None = None) -> xr.Dataset:
    """Properties of the training examples: those that the result holds, and any that are given.

    `text_length` (characters of both texts), `gradient_norm`, `loss`; `given` adds others by name,
    such as the length in tokens or the tokenizer's fertility, each [train] or [checkpoint, train]
    in the order of the result. What differs by checkpoint is averaged with the weights of the
    total (`Influence.total_weights`).

    Returns: variables [train], float64.
    Raises: InfluenceError if a property has another shape or is not finite.
    """
    dataset = influence.dataset
    texts = [dataset[name].values.tolist() for name in ("train_text", "train_text_pair")]
    lengths = [len(text) + len(pair) for text, pair in zip(*texts, strict=True)]
    found: dict[str, Any] = {"text_length": lengths}
    found |= {name: dataset[v].values for name, v in _IN_DATASET.items() if v in dataset}
    found |= dict(given or {})
    reduced = {
        name: ("train", _one_for_each(influence, name, np.asarray(values, dtype=np.float64)))
        for name, values in found.items()
    }
    return xr.Dataset(reduced, coords={"train": dataset["train"].values})


def rank_correlations(scores: xr.DataArray, properties: xr.Dataset) -> xr.DataArray:
    """Spearman's correlation of influence with properties, over the training examples.

    `scores` is [test, train], `properties` as `train_properties` returns them. Over all training
    examples, so that languages which differ in both can make a correlation of their own; see
    `rank_correlations_within`.

    Returns: [property, test], from -1 to 1; 0 by chance; NaN where either is the same for all.
    """
    values_MN = scores.transpose("test", "train").values
    return xr.DataArray(
        _spearman(_stack(properties), values_MN),
        dims=("property", "test"),
        coords={**example_coords(scores), "property": _names(properties)},
        name="spearman",
    )


def rank_correlations_within(scores: xr.DataArray, properties: xr.Dataset) -> xr.DataArray:
    """`rank_correlations` over the training examples of each language alone.

    Returns: [property, test, train_language], from -1 to 1; NaN where either is the same for all.
    """
    codes_N, languages = language_codes(scores["train_language"])
    parts = [
        rank_correlations(scores.isel(train=mask), properties.isel(train=mask))
        for mask in (np.flatnonzero(codes_N == code) for code in range(len(languages)))
    ]
    stacked = xr.concat(parts, dim="train_language", coords="minimal", compat="override")
    stacked = stacked.assign_coords(train_language=languages)
    return stacked.transpose("property", "test", "train_language")


def residual(scores: xr.DataArray, properties: xr.Dataset) -> xr.DataArray:
    """What is left of each test example's scores after a regression on properties.

    Ordinary least squares with an intercept over all training examples, one regression for each
    test example. A property that differs between languages takes part of what is the languages'
    own with it: what is left is the cautious reading, and what has gone need not be spurious.

    Returns: [test, train], float64, uncorrelated with each property.
    """
    values = scores.transpose("test", "train")
    design_NP = np.column_stack([np.ones(values.sizes["train"]), *_standardised(properties)])
    basis, strength, _ = np.linalg.svd(design_NP, full_matrices=False)
    basis_NP = basis[:, strength > strength[0] * 1e-10]
    scores_MN = values.values.astype(np.float64)
    return values.copy(data=scores_MN - (scores_MN @ basis_NP) @ basis_NP.T)


def _one_for_each(influence: Influence, name: str, values: Array) -> Array:
    """One value for each training example, [train]."""
    n_train, n_checkpoints = influence.dataset.sizes["train"], len(influence.checkpoints)
    if values.shape == (n_checkpoints, n_train):
        weights = influence.total_weights()
        values = np.average(values, axis=0, weights=weights) if weights.any() else values.mean(0)
    if values.shape != (n_train,):
        raise InfluenceError(
            f'the property "{name}" has the shape {values.shape}; expected ({n_train},) or '
            f"({n_checkpoints}, {n_train}): training examples, or checkpoints by training examples"
        )
    if not np.isfinite(values).all():
        raise InfluenceError(f'the property "{name}" is not finite for every training example')
    return values


def _spearman(first_PN: Array, second_MN: npt.NDArray[Any]) -> Array:
    ranks = [rankdata(values, axis=1) for values in (first_PN, second_MN)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    lengths = [np.sqrt((rank**2).sum(axis=1)) for rank in centred]
    product = np.outer(*lengths)
    correlation: Array = centred[0] @ centred[1].T / np.where(product > 0, product, np.nan)
    return np.clip(correlation, -1.0, 1.0)


def _standardised(properties: xr.Dataset) -> list[Array]:
    """The properties that differ between examples, in units of their deviation."""
    rows = [row - row.mean() for row in _stack(properties)]
    return [row / row.std() for row in rows if row.std() > 0]


def _stack(properties: xr.Dataset) -> Array:
    rows = [properties[name].values.astype(np.float64) for name in _names(properties)]
    return np.stack(rows) if rows else np.empty((0, properties.sizes["train"]))


def _names(properties: xr.Dataset) -> list[str]:
    return [str(name) for name in properties.data_vars]
