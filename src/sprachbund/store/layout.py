"""What an influence result holds: dimensions, coordinates, variables; and whether one does.

The format is described in docs/influence.md.
"""

from pathlib import Path
from typing import Any

import xarray as xr

from sprachbund.errors import InfluenceError
from sprachbund.store.chunks import (
    METADATA_DIGEST,
    check_present,
    metadata_digest,
    read_attributes,
)

FORMAT_VERSION = 1
METHODS = ("tracin", "tracin-cosine")
DIMENSIONS = ("checkpoint", "test", "train")
EXAMPLE_COLUMNS = ("language", "item", "group", "label", "text", "text_pair")
EXAMPLE_COORDINATES = tuple(
    f"{split}_{column}" for split in ("train", "test") for column in EXAMPLE_COLUMNS
)
VARIABLES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "influence": (DIMENSIONS, "float32", "influence of a training example on a test example"),
    "train_gradient_norm": (("checkpoint", "train"), "float32", "norm of the loss gradient"),
    "train_loss": (("checkpoint", "train"), "float32", "loss of the training example"),
    "test_gradient_norm": (("checkpoint", "test"), "float32", "norm of the loss gradient"),
    "test_loss": (("checkpoint", "test"), "float32", "loss of the test example"),
    "test_prediction": (("checkpoint", "test"), "string", "predicted label"),
    "test_probability": (("checkpoint", "test"), "float32", "probability of the predicted label"),
}
# Keeps one chunk of `influence` at or below 64 MiB with the default shard of 256.
MAX_TEST_CHUNK = 65_536


def check_stored(root: Path) -> None:
    """Raise an InfluenceError unless a whole result of a known format, no file missing, is there.

    The checksums of the chunks are left to be checked when they are read.
    """
    _check_whole(root)
    attributes = read_attributes(root)
    _check_version(root, attributes)
    if attributes.get(METADATA_DIGEST) != metadata_digest(root):
        raise InfluenceError(
            f"{root}: a zarr.json file was changed after the result was written; restore the "
            "folder from a copy, or delete it and attribute again"
        )
    check_present(root)


def check_dataset(dataset: xr.Dataset) -> None:
    """Raise an InfluenceError unless `dataset` holds what an influence result holds."""
    if "influence" not in dataset or dataset["influence"].dims != DIMENSIONS:
        raise InfluenceError(
            f"an influence result has a variable influence with the dimensions {DIMENSIONS}; "
            f"found {dict(dataset.sizes)}"
        )
    needed = (*DIMENSIONS, "epoch", "learning_rate", *EXAMPLE_COORDINATES)
    missing = [name for name in needed if name not in dataset.coords]
    if missing:
        raise InfluenceError(f"the influence result lacks the coordinates {', '.join(missing)}")
    if dataset.attrs.get("method") not in METHODS:
        raise InfluenceError(
            f'the influence result is of the method "{dataset.attrs.get("method")}", which is not '
            f"one of {', '.join(METHODS)}"
        )
    if any(size == 0 for size in dataset["influence"].shape):
        raise InfluenceError(f"the influence result is empty: {dict(dataset.sizes)}")


def _check_whole(root: Path) -> None:
    if root.suffix == ".partial":
        raise InfluenceError(f"{root}: this attribution is not finished; run it again to go on")
    if root.is_dir() and (root / "zarr.json").is_file():
        return
    partial = root.with_name(root.name + ".partial")
    if partial.exists():
        raise InfluenceError(
            f"{root}: this attribution is not finished ({partial.name} is there); run it again to "
            "go on"
        )
    found = "is not a Zarr folder (no zarr.json)" if root.exists() else "does not exist"
    raise InfluenceError(f"{root}: {found}; expected an influence result")


def _check_version(root: Path, attributes: dict[str, Any]) -> None:
    version = attributes.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise InfluenceError(
            f"{root}: is a Zarr folder, but not an influence result (no format_version)"
        )
    if version > FORMAT_VERSION:
        raise InfluenceError(
            f"{root}: has format version {version}, this sprachbund reads up to {FORMAT_VERSION}; "
            f"it was written by sprachbund {attributes.get('sprachbund_version')}: install that"
        )
