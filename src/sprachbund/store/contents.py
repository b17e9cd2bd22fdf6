"""What an influence result is about, known before the first score, and laying out an empty one."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr

from sprachbund import __version__
from sprachbund.errors import InfluenceError
from sprachbund.store.chunks import create_array, seal_metadata, sync
from sprachbund.store.layout import (
    DIMENSIONS,
    EXAMPLE_COLUMNS,
    EXAMPLE_COORDINATES,
    FORMAT_VERSION,
    MAX_TEST_CHUNK,
    METHODS,
    VARIABLES,
)


@dataclass(frozen=True)
class Contents:
    """All that an influence result is about, known before the first score."""

    train: pd.DataFrame
    test: pd.DataFrame
    checkpoints: pd.DataFrame
    labels: tuple[str, ...]
    method: str
    provenance: Mapping[str, Any]
    shard_size: int

    def __post_init__(self) -> None:
        """Refuse what could not be stored or not be read back. Raises: InfluenceError."""
        if self.method not in METHODS:
            raise InfluenceError(f'method "{self.method}" is not one of {", ".join(METHODS)}')
        if self.shard_size < 1:
            raise InfluenceError(f"shard_size is {self.shard_size}; it must be at least 1")
        for name, frame in (("training", self.train), ("test", self.test)):
            _check_examples(name, frame)
        _check_checkpoints(self.checkpoints)

    def fingerprints(self) -> dict[str, str]:
        """Return a digest of each argument, so that a difference can be named."""
        columns = ["id", *EXAMPLE_COLUMNS]
        parts: dict[str, Any] = {
            "train": [self.train[column].tolist() for column in columns],
            "test": [self.test[column].tolist() for column in columns],
            "checkpoints": [
                self.checkpoints["step"].astype(int).tolist(),
                self.checkpoints["epoch"].astype(float).tolist(),
                self.checkpoints["learning_rate"].astype(float).tolist(),
            ],
            "labels": list(self.labels),
            "method": self.method,
            "provenance": self.provenance,
            "shard_size": self.shard_size,
            "sprachbund_version": __version__,
            "format_version": FORMAT_VERSION,
        }
        return {
            name: hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()
            for name, part in parts.items()
        }


def create(root: Path, contents: Contents) -> None:
    """Write an empty influence result: coordinates, and arrays without chunks. Sealed last."""
    attributes: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "method": contents.method,
        "labels": list(contents.labels),
        "sprachbund_version": __version__,
        "provenance": json.dumps(contents.provenance, sort_keys=True, ensure_ascii=False),
        "arguments": contents.fingerprints(),
        # By this convention (CF) xarray knows coordinates that are not dimensions.
        "coordinates": " ".join(["epoch", "learning_rate", *EXAMPLE_COORDINATES]),
    }
    group = zarr.create_group(root, zarr_format=3, attributes=attributes)
    _write_coordinates(group, contents)
    lengths = dict(
        zip(
            DIMENSIONS, map(len, (contents.checkpoints, contents.test, contents.train)), strict=True
        )
    )
    for name, (dims, dtype, long_name) in VARIABLES.items():
        chunk = {
            "checkpoint": 1,
            "test": min(lengths["test"], MAX_TEST_CHUNK),
            "train": contents.shard_size,
        }
        create_array(
            group,
            name,
            dtype=dtype,
            shape=[lengths[dim] for dim in dims],
            chunks=[chunk[dim] for dim in dims],
            dims=dims,
            long_name=long_name,
        )
    with warnings.catch_warnings():
        # xarray opens Zarr v3 without a warning only if the metadata is consolidated, and Zarr
        # warns when it is: the specification of that is not final.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(root, zarr_format=3)
    sync(sorted(root.rglob("*")))
    seal_metadata(root)


def _write_coordinates(group: zarr.Group, contents: Contents) -> None:
    checkpoints = contents.checkpoints
    _write(group, "checkpoint", "checkpoint", "int64", checkpoints["step"], "optimizer step")
    _write(group, "epoch", "checkpoint", "float64", checkpoints["epoch"], "epochs of fine-tuning")
    _write(
        group,
        "learning_rate",
        "checkpoint",
        "float64",
        checkpoints["learning_rate"],
        "sum of the learning rates of the steps since the checkpoint before",
    )
    for split, frame in (("train", contents.train), ("test", contents.test)):
        _write(group, split, split, "string", frame["id"], f"id of the {split} example")
        for column in EXAMPLE_COLUMNS:
            name = column.replace("_", " ")
            _write(group, f"{split}_{column}", split, "string", frame[column], name)


def _write(
    group: zarr.Group, name: str, dim: str, dtype: str, values: "pd.Series[Any]", long_name: str
) -> None:
    n = len(values)
    array = create_array(
        group, name, dtype=dtype, shape=[n], chunks=[n], dims=[dim], long_name=long_name
    )
    array[:] = np.asarray(values, dtype=object if dtype == "string" else dtype)


def _check_examples(name: str, frame: pd.DataFrame) -> None:
    missing = [column for column in ("id", *EXAMPLE_COLUMNS) if column not in frame.columns]
    if missing:
        raise InfluenceError(f"the {name} examples have no column {', '.join(missing)}")
    if frame.empty:
        raise InfluenceError(f"there are no {name} examples")
    repeated = frame["id"][frame["id"].duplicated()]
    if len(repeated):
        raise InfluenceError(f'the {name} examples have the id "{repeated.iloc[0]}" twice')
    for column in ("id", *EXAMPLE_COLUMNS):
        wrong = [value for value in frame[column] if not isinstance(value, str)]
        if wrong:
            raise InfluenceError(
                f"the {name} examples: column {column} holds {wrong[0]!r}, which is not a string"
            )


def _check_checkpoints(frame: pd.DataFrame) -> None:
    missing = [name for name in ("step", "epoch", "learning_rate") if name not in frame.columns]
    if missing:
        raise InfluenceError(f"the checkpoints have no column {', '.join(missing)}")
    if frame.empty:
        raise InfluenceError("there are no checkpoints")
    if not (np.diff(frame["step"].to_numpy()) > 0).all():
        raise InfluenceError(f"the checkpoints are not in order of step: {frame['step'].tolist()}")
    rates = frame["learning_rate"].to_numpy(dtype=float)
    if not (np.isfinite(rates) & (rates >= 0)).all():
        raise InfluenceError(f"the checkpoints have the learning rates {rates.tolist()}")
