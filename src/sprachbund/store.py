"""Writes an influence result shard by shard; a shard counts only when it is whole on the disk.

`<path>.partial` holds `store.zarr` (the result so far), `ledger/` (one empty file for each piece
that is whole, made after the piece has reached the disk) and the lock; finish() moves the store to
`<path>`.
"""

import contextlib
import json
import os
import shutil
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr
from filelock import FileLock, Timeout

from sprachbund.chunks import (
    METADATA_DIGEST,
    check_chunks,
    chunk_keys,
    metadata_digest,
    read_attributes,
    sync,
)
from sprachbund.errors import InfluenceError, SprachbundWarning, StudyError
from sprachbund.influence import Influence
from sprachbund.layout import DIMENSIONS, MAX_TEST_CHUNK, VARIABLES, Contents, create

_TRAIN_VARIABLES = tuple(name for name in VARIABLES if VARIABLES[name][0][-1] == "train")
_TEST_VARIABLES = tuple(name for name in VARIABLES if VARIABLES[name][0][-1] == "test")


@dataclass(frozen=True)
class Shard:
    """Training examples [start, stop) at one checkpoint (its position, not its step)."""

    checkpoint: int
    start: int
    stop: int


class InfluenceWriter:
    """Writes into `<path>.partial`; finish() promotes it to `<path>`.

    One process at a time: the lock is the operating system's, so that it ends with the process.
    """

    def __init__(self, path: Path, contents: Contents) -> None:
        """Use `create_or_resume`."""
        self.path = path
        self._contents = contents
        self._partial = path.with_name(path.name + ".partial")
        self._root = self._partial / "store.zarr"
        self._ledger = self._partial / "ledger"
        self._lock = FileLock(self._partial / "lock", timeout=0)
        self._complete = False
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
        with writer._writing():
            writer._partial.mkdir(parents=True, exist_ok=True)
        writer._acquire()
        try:
            with writer._writing():
                writer._prepare()
        except BaseException:
            writer.close()
            raise
        return writer

    def pending(self, checkpoint: int) -> list[Shard]:
        """The shards of the checkpoint at this position that are not yet whole, in train order."""
        n_train, size = len(self._contents.train), self._contents.shard_size
        starts = range(0, n_train, size)
        shards = [Shard(checkpoint, start, min(start + size, n_train)) for start in starts]
        return [shard for shard in shards if not self._is_whole(_train_entry(shard))]

    def test_pending(self, checkpoint: int) -> bool:
        """Whether what concerns the test examples at this checkpoint is not yet whole."""
        return not self._is_whole(_test_entry(checkpoint))

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
        unknown = [label for label in prediction if label not in self._contents.labels]
        if unknown:
            raise InfluenceError(
                f'prediction "{unknown[0]}" is not one of {", ".join(self._contents.labels)}'
            )
        values: dict[str, Any] = {
            "test_gradient_norm": gradient_norm,
            "test_loss": loss,
            "test_prediction": np.asarray(prediction, dtype=object),
            "test_probability": probability,
        }
        n_test = len(self._contents.test)
        values = {
            name: self._checked(name, value, checkpoint, slice(0, n_test))
            for name, value in values.items()
        }
        self._store(_test_entry(checkpoint), checkpoint, values, slice(0, n_test))

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
        size = self._contents.shard_size
        if shard.start % size or shard.stop != min(shard.start + size, len(self._contents.train)):
            raise InfluenceError(f"{shard} is not one of the shards of {size} that pending() lists")
        where = slice(shard.start, shard.stop)
        given = {
            "influence": influence,
            "train_gradient_norm": train_gradient_norm,
            "train_loss": train_loss,
        }
        values = {
            name: self._checked(name, value, shard.checkpoint, where)
            for name, value in given.items()
        }
        self._store(_train_entry(shard), shard.checkpoint, values, where)

    def finish(self) -> Influence:
        """Promote the result to its path and open it. Raises: InfluenceError if any is pending."""
        n_checkpoints = len(self._contents.checkpoints)
        shards = sum(len(self.pending(checkpoint)) for checkpoint in range(n_checkpoints))
        tests = sum(self.test_pending(checkpoint) for checkpoint in range(n_checkpoints))
        if shards or tests:
            raise InfluenceError(
                f"{self.path}: cannot be finished: {shards} training shards and the test examples "
                f"of {tests} checkpoints are pending"
            )
        with self._writing():
            if not self._complete:
                self._promote()
            self._discard_partial()
        self.close()
        with contextlib.suppress(OSError):
            (self._partial / "lock").unlink(missing_ok=True)
            self._partial.rmdir()
        return Influence.open(self.path)

    def close(self) -> None:
        """Let another process go on with the result. Nothing is lost."""
        self._lock.release(force=True)

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

    def _acquire(self) -> None:
        holder = self._partial / "lock.json"
        try:
            with self._writing():
                self._lock.acquire()
        except Timeout as error:
            who = "another process"
            with contextlib.suppress(OSError, ValueError, KeyError):
                found = json.loads(holder.read_text(encoding="utf-8"))
                who = f"process {found['pid']} on {found['host']}"
            raise StudyError(
                f"{self._partial}: {who} is writing here; wait until it has ended, or end it"
            ) from error
        with self._writing():
            content = {"pid": os.getpid(), "host": socket.gethostname()}
            holder.write_text(json.dumps(content), encoding="utf-8")

    def _prepare(self) -> None:
        """Find out what is whole already, or lay out an empty store."""
        if self._is_finished_already():
            self._complete = True
            return
        if not self._resume():
            self._discard_partial()
            self._ledger.mkdir(parents=True)
            create(self._root, self._contents)
        for name in VARIABLES:
            self._arrays[name] = zarr.open_array(
                self._root / name, mode="r+", config={"write_empty_chunks": True}
            )

    def _is_finished_already(self) -> bool:
        if not self.path.exists():
            return False
        if not (self.path / "zarr.json").is_file():
            raise InfluenceError(
                f"{self.path}: exists and is not an influence result; move it away, or choose "
                "another path"
            )
        attributes = read_attributes(self.path)
        if "format_version" not in attributes:
            raise InfluenceError(
                f"{self.path}: is a Zarr folder, but not an influence result; move it away, or "
                "choose another path"
            )
        if attributes.get("arguments") != self._contents.fingerprints():
            return False
        check_chunks(self.path, chunk_keys(self.path))
        return True

    def _resume(self) -> bool:
        """Return whether the partial store is of these arguments, and undamaged."""
        if not (self._root / "zarr.json").is_file():
            return False
        attributes = read_attributes(self._root)
        if METADATA_DIGEST not in attributes:  # killed while it was laid out
            return False
        wanted, found = self._contents.fingerprints(), attributes.get("arguments", {})
        if found != wanted:
            different = [name for name in wanted if found.get(name) != wanted[name]]
            warnings.warn(
                f"{self._partial} was begun with other arguments ({', '.join(different)}); "
                "it is discarded and attribution starts afresh",
                SprachbundWarning,
                stacklevel=4,
            )
            return False
        if attributes[METADATA_DIGEST] != metadata_digest(self._root):
            raise InfluenceError(
                f"{self._root}: a zarr.json file is damaged; delete {self._partial} to start afresh"
            )
        self._prove()
        return True

    def _prove(self) -> None:
        for path in self._root.rglob("*.partial"):  # what a killed Zarr write leaves behind
            path.unlink()
        check_chunks(self._root, (k for k in chunk_keys(self._root) if _array(k) not in VARIABLES))
        for entry in sorted(self._ledger.iterdir()):
            try:
                check_chunks(self._root, self._entry_keys(entry.name))
            except InfluenceError as error:
                raise InfluenceError(
                    f"{error}; to compute only this piece anew, delete {entry}"
                ) from error

    def _store(
        self, entry: str, checkpoint: int, values: Mapping[str, npt.NDArray[Any]], where: slice
    ) -> None:
        """Write the pieces, bring them to the disk, and only then enter them in the ledger."""
        if self._complete or not self._lock.is_locked:
            raise InfluenceError(f"{self.path}: this writer is closed or has nothing pending")
        files = [self._root / key for key in self._entry_keys(entry)]
        with self._writing():
            for file in files:
                # Zarr would read an old chunk to change a part of it; do not trust that one.
                file.unlink(missing_ok=True)
            for name, value in values.items():
                self._arrays[name][checkpoint, ..., where] = value
            sync(
                [
                    *files,
                    *{
                        parent
                        for file in files
                        for parent in (file.parent, *file.parents)
                        if self._root in parent.parents
                    },
                ]
            )
            (self._ledger / entry).touch()
            sync([self._ledger])

    def _checked(
        self, name: str, value: npt.ArrayLike, checkpoint: int, where: slice
    ) -> npt.NDArray[Any]:
        """Return `value` as it will be stored, if it has the right shape and is finite."""
        dims, dtype, _ = VARIABLES[name]
        n_last = where.stop - where.start
        shape = (len(self._contents.test), n_last) if dims == DIMENSIONS else (n_last,)
        if dtype == "string":
            array: npt.NDArray[Any] = np.asarray(value, dtype=object)
        else:
            with np.errstate(over="ignore"):
                array = np.asarray(value).astype(dtype)
        if array.shape != shape:
            raise InfluenceError(f"{name} has the shape {array.shape}; expected {shape}")
        if dtype != "string" and not np.isfinite(array).all():
            raise InfluenceError(self._describe(name, array, checkpoint, where))
        return array

    def _describe(self, name: str, array: npt.NDArray[Any], checkpoint: int, where: slice) -> str:
        position = np.argwhere(~np.isfinite(array))[0]
        split = VARIABLES[name][0][-1]
        frame = self._contents.train if split == "train" else self._contents.test
        example = f'{split} example "{frame["id"].iloc[where.start + position[-1]]}"'
        if len(position) == 2:
            example += f', test example "{self._contents.test["id"].iloc[position[0]]}"'
        step = self._contents.checkpoints["step"].iloc[checkpoint]
        return (
            f"{name} is {array[tuple(position)]} for {example} at checkpoint {step}; no result can "
            "be built on that: did the fine-tuning diverge?"
        )

    def _entry_keys(self, entry: str) -> list[str]:
        kind, checkpoint, *rest = entry.split("-")
        last = int(rest[0]) // self._contents.shard_size if rest else None
        keys = []
        n_tests = range(-(-len(self._contents.test) // MAX_TEST_CHUNK))
        for name in _TRAIN_VARIABLES if kind == "train" else _TEST_VARIABLES:
            if kind == "train" and name != "influence":
                keys.append(f"{name}/c/{checkpoint}/{last}")
                continue
            for block in n_tests:
                suffix = "" if last is None else f"/{last}"
                keys.append(f"{name}/c/{checkpoint}/{block}{suffix}")
        return keys

    def _is_whole(self, entry: str) -> bool:
        return self._complete or (self._ledger / entry).exists()

    def _promote(self) -> None:
        if self.path.exists():
            self.path.rename(self._partial / "replaced")
        self._root.rename(self.path)
        sync([self.path.parent])

    def _discard_partial(self) -> None:
        for entry in self._partial.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what the operating system refuses into one clear line."""
        try:
            yield
        except Timeout:
            raise
        except OSError as error:
            raise StudyError(
                f"{error.filename or self._partial}: cannot be written: "
                f"{error.strerror or error}; what is finished is kept: free space or allow "
                "writing, and run again to go on"
            ) from error


def _train_entry(shard: Shard) -> str:
    return f"train-{shard.checkpoint}-{shard.start}"


def _test_entry(checkpoint: int) -> str:
    return f"test-{checkpoint}"


def _array(key: str) -> str:
    return key.split("/")[0]
