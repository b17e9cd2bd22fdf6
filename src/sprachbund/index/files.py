"""The folder of an index: `.npy` files of sketches while it is built, three for each finished checkpoint."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sprachbund.errors import StudyError
from sprachbund.writing import write_text, writing

Array = npt.NDArray[Any]
FORMAT = 2


@dataclass(frozen=True)
class IndexFiles:
    """Names and reading and writing of the files of one index."""

    folder: Path

    def write_about(self, about: dict[str, Any]) -> None:
        """What the index was made from; a folder made from something else is refused, one of an older format emptied.

        Raises: StudyError
        """
        path = self.folder / "index.json"
        about = {"format": FORMAT, **about}
        if path.exists() and self._is_older(path):
            for step in self.folder.glob("step-*"):
                shutil.rmtree(step)
        elif path.exists() and self.read_about() != about:
            raise StudyError(
                f"{self.folder}: holds an index of another run, data or compression; remove it first"
            )
        write_text(path, json.dumps(about, indent=1, ensure_ascii=False) + "\n")

    @staticmethod
    def _is_older(path: Path) -> bool:
        try:
            return int(json.loads(path.read_text(encoding="utf-8"))["format"]) < FORMAT
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def read_about(self) -> dict[str, Any]:
        """Raises: StudyError if there is no index here, or one of another version."""
        path = self.folder / "index.json"
        try:
            about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StudyError(
                f"{self.folder}: is not an index; build one with `sprachbund index STUDY.yaml`"
            ) from error
        if about.get("format") != FORMAT:
            raise StudyError(
                f"{path}: format {about.get('format')}, expected {FORMAT}; build the index again"
            )
        return about

    def shard(self, step: int, start: int) -> Path:
        """Sketches and norms of the training examples from position `start` on, while the index is built."""
        return self.folder / f"step-{step}" / f"sketch-{start:07d}.npy"

    def vectors(self, step: int) -> Path:
        """The compressed gradients of one checkpoint, [N, r] float16, divided by the norms of their sketches."""
        return self.folder / f"step-{step}" / "vectors.npy"

    def norms(self, step: int) -> Path:
        """The norms of the sketches, and of the gradients themselves, [N, 2] float32."""
        return self.folder / f"step-{step}" / "norms.npy"

    def directions(self, step: int) -> Path:
        """The principal directions that compress a sketch, [D, r] float16."""
        return self.folder / f"step-{step}" / "directions.npy"

    def is_finished(self, step: int) -> bool:
        """Whether a checkpoint is complete; its directions are written last."""
        return self.directions(step).exists()


def save(path: Path, values: Array) -> None:
    """Write an array whole or not at all. Raises: StudyError if the disk refuses."""
    with writing(path) as partial, partial.open("wb") as file:
        np.save(file, values)


def load(path: Path) -> Array:
    """Raises: StudyError for a missing or damaged file, naming it."""
    try:
        values: Array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise StudyError(f"{path}: missing or damaged ({error}); build the index again") from error
    return values
