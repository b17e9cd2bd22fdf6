"""Weights as 8-bit integers with one scale a row, and back to float32.

A matrix `name` is stored as `name.codes` [rows, columns] int8 and `name.scales` [rows] float32; anything else as
float16 under its own name.
"""

from collections.abc import Mapping

import numpy as np

CODES, SCALES = ".codes", ".scales"
LARGEST_CODE = 127


def pack(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what is stored, each element off by at most half a step of its row's scale; rows below 1.5e-36 are 0."""
    packed: dict[str, np.ndarray] = {}
    for name, weight in weights.items():
        if weight.ndim == 2:
            packed[name + CODES], packed[name + SCALES] = _quantised(weight.astype(np.float32))
        else:
            packed[name] = weight.astype(np.float16)
    return packed


def unpack(packed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return float32 weights under their names in the model."""
    weights: dict[str, np.ndarray] = {}
    for name, stored in packed.items():
        if name.endswith(CODES):
            matrix = name.removesuffix(CODES)
            scales = packed[matrix + SCALES]
            weights[matrix] = stored.astype(np.float32) * scales[:, None]
        elif not name.endswith(SCALES):
            weights[name] = stored.astype(np.float32)
    return weights


def _quantised(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scales = np.abs(weight).max(axis=1) / np.float32(LARGEST_CODE)
    # Any scale serves a row of zeros, or one so small that its scale would not be a normal number.
    scales[scales < np.finfo(np.float32).tiny] = 1.0
    codes = np.rint(weight / scales[:, None])
    return codes.astype(np.int8), scales
