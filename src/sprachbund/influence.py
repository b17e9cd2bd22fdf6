"""Influence: the labelled result of an attribution, [checkpoint, test, train], opened lazily.

Scores are read block by block along the training set, so that none of the questions asked here
needs the whole array in memory.
"""

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from sprachbund.errors import InfluenceError
from sprachbund.questions import Questions
from sprachbund.questions import Sign as Sign
from sprachbund.store.chunks import open_checked
from sprachbund.store.layout import EXAMPLE_COORDINATES, check_dataset, check_stored

_BLOCK_NBYTES = 64 * 2**20


class Influence(Questions):
    """How much each training example speaks for each test example, by checkpoint.

    `dataset` is an xarray Dataset as docs/influence.md describes it. `Influence(dataset)` wraps one
    in memory, for example a selection: `Influence(influence.dataset.isel(test=slice(10)))`.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        """Wrap a dataset. Raises: InfluenceError if it lacks what an influence result holds."""
        check_dataset(dataset)
        self.dataset = dataset

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a stored result; scores are read, and their checksums checked, when needed.

        Raises: InfluenceError if there is no whole and undamaged result of a known format there.
        """
        root = Path(path)
        check_stored(root)
        return cls(xr.open_zarr(open_checked(root), chunks=None))

    def __repr__(self) -> str:
        sizes = self.dataset.sizes
        return (
            f"<Influence {self.method}: {sizes['train']:,} training examples ({', '.join(self.train_languages)}), "
            f"{sizes['test']:,} test examples ({', '.join(self.test_languages)}), {sizes['checkpoint']} checkpoints>"
        )

    @property
    def method(self) -> str:
        """The attribution method, "tracin" or "tracin-cosine"."""
        return str(self.dataset.attrs["method"])

    @property
    def labels(self) -> tuple[str, ...]:
        """The label names in the order of the model's classes."""
        return tuple(self.dataset.attrs["labels"])

    @property
    def provenance(self) -> dict[str, Any]:
        """What the result was made from: model, data, run, parameters."""
        return dict(json.loads(self.dataset.attrs.get("provenance", "{}")))

    @property
    def train_languages(self) -> tuple[str, ...]:
        """The languages of the training examples, in order of appearance."""
        return tuple(dict.fromkeys(self.dataset["train_language"].values.tolist()))

    @property
    def test_languages(self) -> tuple[str, ...]:
        """The languages of the test examples, in order of appearance."""
        return tuple(dict.fromkeys(self.dataset["test_language"].values.tolist()))

    @property
    def languages(self) -> tuple[str, ...]:
        """The training languages, then the test languages never trained on."""
        return tuple(dict.fromkeys(self.train_languages + self.test_languages))

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The optimizer steps of the checkpoints."""
        return tuple(int(step) for step in self.dataset["checkpoint"].values)

    def total_weights(self) -> npt.NDArray[np.float64]:
        """Weight of each checkpoint in the total, [checkpoint]; the starting point has none.

        "tracin": the learning rates of the interval that ends at the checkpoint, summed (TracInCP,
        Pruthi et al. 2020, section 3). "tracin-cosine": 1 (Choenni et al. 2023).
        """
        steps = self.dataset["checkpoint"].values
        if not (steps > 0).any():
            raise InfluenceError("the result holds only the starting point, which has no total")
        if self.method == "tracin-cosine":
            return (steps > 0).astype(np.float64)
        rates = self.dataset["learning_rate"].values.astype(np.float64)
        return np.where(steps > 0, rates, 0.0)

    def total(self) -> xr.DataArray:
        """Influence of the whole run: the weighted sum over checkpoints, [test, train], float64."""
        values = np.empty((self.dataset.sizes["test"], self.dataset.sizes["train"]))
        for start, scores in self._blocks(self.total_weights(), slice(None)):
            values[:, start : start + scores.shape[1]] = scores
        template = self.dataset["influence"].isel(checkpoint=0, drop=True)
        return template.copy(deep=False, data=values).rename("total_influence")

    def at(self, checkpoint: int) -> xr.DataArray:
        """Influence at one checkpoint alone, unweighted, [test, train], float32, loaded.

        `checkpoint` is the optimizer step, as in `checkpoints`.
        """
        array = self.dataset["influence"].isel(checkpoint=self._position(checkpoint))
        values = array.values
        self._check_finite(values, checkpoint, slice(None), 0)
        return array.copy(deep=False, data=values)

    def top_k(self, k: int, sign: Sign = "proponents", checkpoint: int | None = None) -> xr.Dataset:
        """The k training examples that most raise (or lower) the fit of each test example.

        By the total, or at one checkpoint (an optimizer step). Equal scores keep the order of the
        training set.

        Returns: dims test, rank (from 1); `train` (the id), `train_index`, `score` (float64).
        Raises: InfluenceError if k exceeds the number of training examples.
        """
        index, score = self._ranked(k, sign, checkpoint, slice(None))
        test = {
            name: coordinate
            for name, coordinate in self.dataset.coords.items()
            if coordinate.dims == ("test",)
        }
        dims = ("test", "rank")
        return xr.Dataset(
            {
                "train": (dims, self.dataset["train"].values[index]),
                "train_index": (dims, index),
                "score": (dims, score),
            },
            coords={**test, "rank": np.arange(1, k + 1)},
            attrs={"sign": sign, "method": self.method},
        )

    def proponents(self, test_id: str, k: int = 10) -> pd.DataFrame:
        """The k training examples that most raise the fit of one test example, best first.

        Returns: rank, id, language, item, group, label, text, text_pair, score.
        """
        return self._examples(test_id, k, "proponents")

    def opponents(self, test_id: str, k: int = 10) -> pd.DataFrame:
        """The k training examples that most lower the fit of one test example, worst first."""
        return self._examples(test_id, k, "opponents")

    def _examples(self, test_id: str, k: int, sign: Sign) -> pd.DataFrame:
        ids = self.dataset["test"].values.tolist()
        if test_id not in ids:
            near = difflib.get_close_matches(test_id, ids, n=1) or ids[:1]
            raise InfluenceError(f'no test example has the id "{test_id}"; there is "{near[0]}"')
        row = ids.index(test_id)
        index, score = self._ranked(k, sign, None, slice(row, row + 1))
        columns: dict[str, Any] = {"rank": np.arange(1, k + 1)}
        columns["id"] = self.dataset["train"].values[index[0]].tolist()
        for name in EXAMPLE_COORDINATES:
            if name.startswith("train_"):
                values = self.dataset[name].values[index[0]]
                columns[name.removeprefix("train_")] = values.tolist()
        return pd.DataFrame({**columns, "score": score[0]})

    def _ranked(
        self, k: int, sign: Sign, checkpoint: int | None, tests: slice
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return (train position, score) of the k first, each [test, rank]."""
        n_train = self.dataset.sizes["train"]
        if not 1 <= k <= n_train:
            raise InfluenceError(
                f"k is {k}, but there are {n_train} training examples; k must lie in 1..{n_train}"
            )
        if sign not in ("proponents", "opponents"):
            raise InfluenceError(f'sign is "{sign}"; it must be "proponents" or "opponents"')
        weights = self.total_weights() if checkpoint is None else self._only(checkpoint)
        direction = -1.0 if sign == "proponents" else 1.0
        n_test = len(range(*tests.indices(self.dataset.sizes["test"])))
        index = np.empty((n_test, 0), dtype=np.int64)
        key = np.empty((n_test, 0))
        for start, scores in self._blocks(weights, tests):
            # What is kept so far precedes the block in the training set, so that a stable sort
            # breaks ties by train order.
            new = np.broadcast_to(np.arange(start, start + scores.shape[1]), scores.shape)
            index = np.concatenate([index, new], axis=1)
            key = np.concatenate([key, direction * scores], axis=1)
            first = np.stack([_smallest(row, k) for row in key])
            index = np.take_along_axis(index, first, axis=1)
            key = np.take_along_axis(key, first, axis=1)
        return index, direction * key

    def _blocks(
        self, weights: npt.NDArray[np.float64], tests: slice
    ) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
        """Yield (start, weighted sum over checkpoints [test, block]) along the training set."""
        influence = self.dataset["influence"].variable
        _, n_test, n_train = influence.shape
        chunk = (influence.encoding.get("chunks") or (1, n_test, 256))[2]
        width = chunk * max(1, _BLOCK_NBYTES // (8 * max(1, n_test) * chunk))
        for start in range(0, n_train, width):
            total: npt.NDArray[np.float64] | None = None
            for position in np.flatnonzero(weights):
                block = influence[int(position), tests, start : start + width].values
                self._check_finite(block, self.checkpoints[position], tests, start)
                weighted = block.astype(np.float64) * weights[position]
                total = weighted if total is None else total + weighted
            if total is None:
                raise InfluenceError("every checkpoint has the learning rate 0: there is no total")
            yield start, total

    def _check_finite(
        self, block: npt.NDArray[Any], checkpoint: int, tests: slice, start: int
    ) -> None:
        if np.isfinite(block).all():
            return
        row, column = np.argwhere(~np.isfinite(block))[0]
        test = self.dataset["test"].values[tests][row]
        train = self.dataset["train"].values[start + column]
        raise InfluenceError(
            f'the influence of training example "{train}" on test example "{test}" at checkpoint '
            f"{checkpoint} is {block[row, column]}, which is not a number to build on"
        )

    def _position(self, checkpoint: int) -> int:
        if checkpoint not in self.checkpoints:
            known = ", ".join(map(str, self.checkpoints))
            raise InfluenceError(f"there is no checkpoint {checkpoint}; there are {known}")
        return self.checkpoints.index(checkpoint)

    def _only(self, checkpoint: int) -> npt.NDArray[np.float64]:
        weights = np.zeros(len(self.checkpoints))
        weights[self._position(checkpoint)] = 1.0
        return weights


def _smallest(row: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.intp]:
    """Positions of the k smallest values in order, equal ones by position; all if fewer than k.

    The same as the head of a stable sort, without sorting the tail.
    """
    if k >= len(row):
        return np.argsort(row, kind="stable")
    candidates = np.flatnonzero(row <= np.partition(row, k - 1)[k - 1])
    return candidates[np.argsort(row[candidates], kind="stable")[:k]]
