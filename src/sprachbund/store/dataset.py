"""A labelled dataset as a whole Zarr folder, every chunk with a checksum: written at once, and opened."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from sprachbund.errors import InfluenceError
from sprachbund.store.chunks import (
    METADATA_DIGEST,
    check_present,
    create_array,
    metadata_digest,
    open_checked,
    read_attributes,
    seal_metadata,
)

_CHUNK = 16 * 2**20
"""Most entries of a chunk along the last axis times the one before it."""


def write_dataset(root: Path, dataset: xr.Dataset) -> None:
    """Write a dataset of numbers and strings to a folder that does not exist yet.

    A variable's attribute `long_name` is kept, and the attributes of the dataset.
    """
    coordinates = [name for name in dataset.coords if name not in dataset.dims]
    attributes = {**dataset.attrs, "coordinates": " ".join(map(str, coordinates))}
    group = zarr.create_group(root, zarr_format=3, attributes=attributes)
    for name, variable in dataset.variables.items():
        is_text = variable.dtype.kind in "OUT"
        array = create_array(
            group,
            str(name),
            dtype="string" if is_text else str(variable.dtype),
            shape=variable.shape,
            chunks=_chunks(variable.shape),
            dims=[str(dim) for dim in variable.dims],
            long_name=str(variable.attrs.get("long_name", name)),
        )
        array[...] = np.asarray(variable.values, dtype=object if is_text else None)
    with warnings.catch_warnings():
        # As in store/contents.py: xarray wants consolidated metadata, of which Zarr warns.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(root, zarr_format=3)
    seal_metadata(root)


def open_dataset(root: Path) -> xr.Dataset:
    """Open what `write_dataset` wrote, lazily; each chunk is checked when it is read.

    Raises: InfluenceError if a file is missing or was changed.
    """
    attributes: dict[str, Any] = read_attributes(root)
    if attributes.get(METADATA_DIGEST) != metadata_digest(root):
        raise InfluenceError(
            f"{root}: a zarr.json file was changed after it was written; delete the folder and make it again"
        )
    check_present(root)
    found: xr.Dataset = xr.open_zarr(open_checked(root), chunks=None)
    return found


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """All of the last two axes as far as that is not too much, and one of each other."""
    if len(shape) < 2:
        return shape
    rows = shape[-2]
    return (*[1] * (len(shape) - 2), rows, max(1, min(shape[-1], _CHUNK // rows)))
