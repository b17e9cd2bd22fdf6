"""Writes an influence result shard by shard; a shard counts only when it is whole on the disk.

Killed at any moment, it goes on with what is pending, and the result is the same to the bit.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr

from sprachbund.errors import InfluenceError, SprachbundWarning
from sprachbund.influence import Influence
from sprachbund.store.chunks import check_chunks, chunk_keys, read_attributes
from sprachbund.store.contents import Contents
from sprachbund.store.layout import DIMENSIONS, VARIABLES
from sprachbund.store.partial import PartialFolder
from sprachbund.store.pieces import Piece, Shard, piece_of_shard, piece_of_tests, shards

__all__ = ["InfluenceWriter", "Shard"]


class InfluenceWriter:
    """Writes into `<path>.partial`; finish() promotes it to `<path>`. One process at a time."""

    def __init__(self, path: Path, contents: Contents) -> None:
        """Use `create_or_resume`."""
        self.path = path
        self._contents = contents
        self._partial = PartialFolder(path)
        self._is_finished = False
        self._arrays: dict[str, Any] = {}

    @classmethod
    def create_or_resume(
        cls,
        path: str | Path,
        *,
        train: pd.DataFrame,
        test: pd.DataFrame,
        checkpoints: pd.DataFrame,
        labels: Sequence[str],
        method: str,
        provenance: Mapping[str, Any],
        shard_size: int = 256,
    ) -> Self:
        """Start a result, or go on with one that was begun with exactly these arguments.

        `train` and `test` have the columns of a corpus, `checkpoints` has step, epoch and
        learning_rate (summed over the interval). A result begun with other arguments is begun
        afresh, with a warning; a finished one at `path` is kept until finish() replaces it.

        Raises: InfluenceError if what is there is damaged or is not an influence result;
        StudyError if the folder cannot be written or another process writes there.
        """
        contents = Contents(
            train, test, checkpoints, tuple(labels), method, dict(provenance), shard_size
        )
        writer = cls(Path(path), contents)
        writer._partial.acquire()
        try:
            with writer._partial.writing():
                writer._prepare()
        except BaseException:
            writer.close()
            raise
        return writer

    def pending(self, checkpoint: int) -> list[Shard]:
        """The shards of the checkpoint at this position that are not yet whole, in train order."""
        return [
            shard
            for shard in shards(self._contents, checkpoint)
            if not self._is_whole(piece_of_shard(self._contents, shard))
        ]

    def test_pending(self, checkpoint: int) -> bool:
        """Whether what concerns the test examples at this checkpoint is not yet whole."""
        return not self._is_whole(piece_of_tests(self._contents, checkpoint))

    def write_test(
        self,
        checkpoint: int,
        *,
        gradient_norm: npt.ArrayLike,
        loss: npt.ArrayLike,
        prediction: Sequence[str],
        probability: npt.ArrayLike,
    ) -> None:
        """Write what concerns the test examples, each [test], at one checkpoint.

        Raises: InfluenceError for a number that is not finite, or a label that does not exist.
        """
        labels = self._contents.labels
        unknown = [label for label in prediction if label not in labels]
        if unknown:
            raise InfluenceError(f'prediction "{unknown[0]}" is not one of {", ".join(labels)}')
        values = {
            "test_gradient_norm": gradient_norm,
            "test_loss": loss,
            "test_prediction": np.asarray(prediction, dtype=object),
            "test_probability": probability,
        }
        self._store(piece_of_tests(self._contents, checkpoint), values)

    def write(
        self,
        shard: Shard,
        *,
        influence: npt.ArrayLike,
        train_gradient_norm: npt.ArrayLike,
        train_loss: npt.ArrayLike,
    ) -> None:
        """Write one shard: influence [test, shard], the others [shard]. Whole when this returns.

        Raises: InfluenceError for a number that is not finite; StudyError if the disk refuses, and
        then the shard is still pending.
        """
        if shard not in shards(self._contents, shard.checkpoint):
            raise InfluenceError(f"{shard} is not one of the shards that pending() lists")
        values = {
            "influence": influence,
            "train_gradient_norm": train_gradient_norm,
            "train_loss": train_loss,
        }
        self._store(piece_of_shard(self._contents, shard), values)

    def finish(self) -> Influence:
        """Promote the result to its path and open it. Raises: InfluenceError if any is pending."""
        positions = range(len(self._contents.checkpoints))
        n_shards = sum(len(self.pending(checkpoint)) for checkpoint in positions)
        n_tests = sum(self.test_pending(checkpoint) for checkpoint in positions)
        if n_shards or n_tests:
            raise InfluenceError(
                f"{self.path}: cannot be finished: {n_shards} training shards and the test examples "
                f"of {n_tests} checkpoints are pending"
            )
        with self._partial.writing():
            if not self._is_finished:
                self._partial.promote()
            self._is_finished = True
            self._partial.remove()
        return Influence.open(self.path)

    def close(self) -> None:
        """Let another process go on with the result. Nothing is lost."""
        self._partial.release()

    def __enter__(self) -> Self:
        """Return self; the lock ends with the `with` block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the lock."""
        self.close()

    def _prepare(self) -> None:
        """Find out what is whole already, or lay out an empty store."""
        if self._find_finished():
            self._is_finished = True
            return
        if not self._partial.resume(self._contents):
            self._partial.start(self._contents)
        for name in VARIABLES:
            self._arrays[name] = zarr.open_array(
                self._partial.root / name, mode="r+", config={"write_empty_chunks": True}
            )

    def _find_finished(self) -> bool:
        """Return whether `path` holds this very result, undamaged."""
        if not self.path.exists():
            return False
        is_zarr = (self.path / "zarr.json").is_file()
        attributes = read_attributes(self.path) if is_zarr else {}
        if "format_version" not in attributes:
            raise InfluenceError(
                f"{self.path}: exists and is not an influence result; move it away, or choose "
                "another path"
            )
        wanted, found = self._contents.fingerprints(), attributes.get("arguments")
        if found != wanted:
            different = [name for name in wanted if (found or {}).get(name) != wanted[name]]
            warnings.warn(
                f"{self.path} is a finished result of other arguments ({', '.join(different)}): it is replaced once "
                "the new one is finished. To keep both, stop and choose another path",
                SprachbundWarning,
                stacklevel=4,
            )
            return False
        check_chunks(self.path, chunk_keys(self.path))
        return True

    def _store(self, piece: Piece, values: Mapping[str, npt.ArrayLike]) -> None:
        """Check and write the variables of a piece, and enter it in the ledger."""
        if self._is_finished or not self._partial.is_held:
            raise InfluenceError(f"{self.path}: this writer is closed")
        if self._is_whole(piece):
            raise InfluenceError(f"{self.path}: the piece {piece.name} is whole already")
        checked = {name: self._checked(name, value, piece) for name, value in values.items()}
        with self._partial.writing():
            for key in piece.keys:
                # Zarr would read an old chunk to change a part of it; do not trust that one.
                (self._partial.root / key).unlink(missing_ok=True)
            for name, value in checked.items():
                self._arrays[name][piece.checkpoint, ..., piece.where] = value
            self._partial.enter(piece)

    def _checked(self, name: str, value: npt.ArrayLike, piece: Piece) -> npt.NDArray[Any]:
        """Return `value` as it will be stored, if it has the right shape and is finite."""
        dims, dtype, _ = VARIABLES[name]
        n_last = piece.where.stop - piece.where.start
        shape = (len(self._contents.test), n_last) if dims == DIMENSIONS else (n_last,)
        with np.errstate(over="ignore"):  # an overflow is reported below
            array = np.asarray(value).astype(object if dtype == "string" else dtype)
        if array.shape != shape:
            raise InfluenceError(f"{name} has the shape {array.shape}; expected {shape}")
        if dtype == "string" or np.isfinite(array).all():
            return array
        position = np.argwhere(~np.isfinite(array))[0]
        ids = self._contents.train["id"] if dims[-1] == "train" else self._contents.test["id"]
        example = f'{dims[-1]} example "{ids.iloc[piece.where.start + position[-1]]}"'
        if len(position) == 2:
            example += f', test example "{self._contents.test["id"].iloc[position[0]]}"'
        raise InfluenceError(
            f"{name} is {array[tuple(position)]} for {example} at checkpoint "
            f"{self._contents.checkpoints['step'].iloc[piece.checkpoint]}; no result can be built on "
            "that: did the fine-tuning diverge?"
        )

    def _is_whole(self, piece: Piece) -> bool:
        return self._is_finished or self._partial.is_whole(piece)
