"""The folder `<path>.partial` of an unfinished decomposition: `.npy` files, each written whole or not at all."""

import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sprachbund.errors import SprachbundWarning, StudyError
from sprachbund.writing import write_text, writing

Array = npt.NDArray[np.float64]


_ABOUT = "about.json"
_SHARD = 512
_PIECES_VERSION = 2  # 1: by blocks of test examples


@dataclass(frozen=True)
class PassLayout:
    """The positions of the test examples of a pass, and whether it counts for the training examples' norms."""

    tests: list[int]
    is_of_first_block: bool


@dataclass(frozen=True)
class Layout:
    """What the axes of a checkpoint's pieces stand for: groups by name, and test examples by pass and position."""

    groups: tuple[str, ...]
    passes: list[PassLayout]


@dataclass(frozen=True)
class Pieces:
    """Names, reading and writing of the pieces of one decomposition."""

    folder: Path

    def begin(self, about: dict[str, Any]) -> None:
        """Go on with what was begun from the same inputs; with a warning, discard what was begun from others.

        Raises: StudyError if the disk refuses.
        """
        path = self.folder / _ABOUT
        stated = {"pieces_version": _PIECES_VERSION, **about}
        text = json.dumps(stated, indent=1, ensure_ascii=False) + "\n"
        if path.exists() and path.read_text(encoding="utf-8") != text:
            warnings.warn(
                f"{self.folder} was begun with other arguments; it is discarded and begun afresh",
                SprachbundWarning,
                stacklevel=3,
            )
            self.clear()
        write_text(path, text)

    def clear(self) -> None:
        """Delete all pieces, and what says what they are of."""
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
        (self.folder / _ABOUT).unlink(missing_ok=True)

    def layout(self, step: int) -> Path:
        """The names of the groups of parameters at one checkpoint, and the test positions of each pass, JSON."""
        return self.folder / f"step-{step}" / "layout.json"

    def means(self, step: int) -> Path:
        """Inner products of training gradients with each training language's mean gradient, [N, L]."""
        return self.folder / f"step-{step}" / "means.npy"

    def tests(self, step: int, number: int) -> Path:
        """Squared norms by group of the test gradients of a pass, [G, m]."""
        return self.folder / f"step-{step}" / f"tests-{number}.npy"

    def scores(self, step: int, number: int, shard: slice) -> Path:
        """Inner products of the test examples of a pass with a shard of training examples, [G, m + 1, n].

        The last row has the squared norms of the latter.
        """
        return self.folder / f"step-{step}" / f"scores-{number}-{shard.start:07d}.npy"

    def shards(self, n_train: int) -> list[slice]:
        """The training examples, cut into what is written as one piece."""
        return [slice(start, min(start + _SHARD, n_train)) for start in range(0, n_train, _SHARD)]

    def pending(self, step: int, number: int, n_train: int) -> list[slice]:
        """The shards that are not written yet for a pass."""
        shards = self.shards(n_train)
        return [shard for shard in shards if not self.scores(step, number, shard).exists()]


def read_layout(path: Path) -> Layout | None:
    """The layout of a checkpoint's pieces; None where it was not written yet."""
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return Layout(tuple(content["groups"]), [PassLayout(**each) for each in content["passes"]])


def save(path: Path, values: Array) -> None:
    """Write an array whole or not at all. Raises: StudyError if the disk refuses."""
    with writing(path) as partial, partial.open("wb") as file:
        np.save(file, values)


def load(path: Path) -> Array:
    """Raises: StudyError for a damaged file, naming it."""
    try:
        values: Array = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise StudyError(f"{path}: damaged ({error}); delete it and run again") from error
    return values
