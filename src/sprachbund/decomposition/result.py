"""Decomposition: the influence of a run taken apart, labelled as the influence result is."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr

from sprachbund.errors import InfluenceError
from sprachbund.store.chunks import read_attributes
from sprachbund.store.dataset import open_dataset

KIND, FORMAT_VERSION = "decomposition", 1
_DIMENSIONS = ("checkpoint", "group", "test", "train")


class Decomposition:
    """Influence by group of parameters, and without each language's mean gradient, at some checkpoints of a run.

    `dataset` has the coordinates of the influence result, `group`, and these variables, in the unit of the method:

    - `contribution` [checkpoint, group, test, train]: adds up over the groups to the influence;
    - `means_removed` [checkpoint, test, train]: the influence after the mean gradient of its language was taken off
      every training gradient, and off every test gradient whose language was trained on;
    - `train_gradient_norm` [checkpoint, group, train], `test_gradient_norm` [checkpoint, group, test]: norms within a
      group.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        """Wrap a dataset. Raises: InfluenceError if it lacks what a decomposition holds."""
        if "contribution" not in dataset or dataset["contribution"].dims != _DIMENSIONS:
            raise InfluenceError(
                f"a decomposition has a variable contribution with the dimensions {_DIMENSIONS}; "
                f"found {dict(dataset.sizes)}"
            )
        self.dataset = dataset

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a stored decomposition; numbers are read, and their checksums checked, when needed.

        Raises: InfluenceError if there is no whole and undamaged decomposition there.
        """
        root = Path(path)
        if not (root / "zarr.json").is_file():
            raise InfluenceError(
                f"{root}: is not a decomposition; make one with `sprachbund decompose STUDY.yaml`"
            )
        attributes = read_attributes(root)
        if (attributes.get("kind"), attributes.get("format_version")) != (KIND, FORMAT_VERSION):
            raise InfluenceError(
                f"{root}: is no decomposition of format {FORMAT_VERSION}; make one with "
                "`sprachbund decompose STUDY.yaml`"
            )
        return cls(open_dataset(root))

    @property
    def method(self) -> str:
        """The attribution method, "tracin" or "tracin-cosine"."""
        return str(self.dataset.attrs["method"])

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of parameters, from the embeddings to the head."""
        return tuple(self.dataset["group"].values.tolist())

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The optimizer steps of the checkpoints that were taken apart."""
        return tuple(int(step) for step in self.dataset["checkpoint"].values)

    def influence(self) -> xr.DataArray:
        """The sum over the groups: the influence itself, [checkpoint, test, train], float64."""
        return self.dataset["contribution"].astype(np.float64).sum("group").rename("influence")

    def cosine(self) -> xr.DataArray:
        """Cosine of the two gradients within each group alone, [checkpoint, group, test, train], float64.

        0 where one of them vanishes there.
        """
        test, train = (
            self.dataset[f"{split}_gradient_norm"].astype(np.float64) for split in ("test", "train")
        )
        dot = self.dataset["contribution"].astype(np.float64)
        if self.method == "tracin-cosine":
            dot = dot * _whole(test) * _whole(train)
        scale = test * train
        return (dot / scale.where(scale > 0)).fillna(0.0).transpose(*_DIMENSIONS).rename("cosine")

    def __repr__(self) -> str:
        sizes: dict[Any, int] = dict(self.dataset.sizes)
        return (
            f"Decomposition({self.method}, {', '.join(f'{n} {dim}' for dim, n in sizes.items())})"
        )


def _whole(norm: xr.DataArray) -> xr.DataArray:
    """The norm over all groups."""
    squared: xr.DataArray = (norm**2).sum("group")
    return squared**0.5
