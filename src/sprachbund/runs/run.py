"""Any output folder of the Hugging Face Trainer: its checkpoints and their exact learning rates.

TracInCP (Pruthi et al., 2020) weighs a checkpoint by the learning rate of the steps it stands for.
It is read from the run itself (learning_rates.py), never guessed: a run without it is refused.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from sprachbund.errors import RunError
from sprachbund.runs.checkpoint_files import SavedState, checkpoint_problem, weight_problem
from sprachbund.runs.learning_rates import interval_rates

_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Checkpoint:
    """A saved model, and the interval of training that ends with it.

    The interval begins at the previous checkpoint that still exists: where save_total_limit has
    removed earlier ones, the first that is left stands for all steps up to it.
    """

    path: Path
    step: int
    epoch: float
    learning_rate: float  # sum over the optimizer steps of the interval; 0.0 for the starting point
    steps: int  # optimizer steps in the interval, without those that mixed precision skipped


@dataclass(frozen=True)
class Run:
    """The checkpoints of one fine-tuning run, in order of step."""

    path: Path
    checkpoints: tuple[Checkpoint, ...]

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Read the output folder of a Trainer; a model saved in the folder itself is ignored.

        `checkpoint-0`, the model before training, is optional; our own runs have it.

        Raises: RunError if there is no checkpoint, one is damaged, or the learning rates are not
        recorded exactly (the message says what is missing and how to supply it).
        """
        path = Path(path)
        folders = checkpoint_folders(path)
        if not folders:
            raise RunError(
                f"{path}: no checkpoint-<step> folder; give the output_dir of a Trainer whose "
                "save_strategy is not 'no'"
            )
        start = [
            Checkpoint(path=_checked_start(folder), step=0, epoch=0.0, learning_rate=0.0, steps=0)
            for step, folder in folders.items()
            if step == 0
        ]
        states = [_checked_state(folder, step) for step, folder in folders.items() if step > 0]
        rates = interval_rates(path, states) if states else []
        trained = [
            Checkpoint(
                path=state.path,
                step=state.step,
                epoch=state.epoch,
                learning_rate=math.fsum(interval),
                steps=len(interval),
            )
            for state, interval in zip(states, rates, strict=True)
        ]
        return cls(path=path, checkpoints=(*start, *trained))


def checkpoint_folders(path: Path) -> dict[int, Path]:
    """The checkpoint folders of a run by step, in order. Raises RunError if `path` is none."""
    if not path.exists():
        raise RunError(f"{path}: no such folder")
    if not path.is_dir():
        raise RunError(f"{path}: a file, but a run is the folder that a Trainer wrote")
    if _NAME.fullmatch(path.name) and (path / "config.json").is_file():
        raise RunError(f"{path}: a single checkpoint; give the folder of the run, {path.parent}")
    found = {
        int(match[1]): entry
        for entry in path.iterdir()
        if entry.is_dir() and (match := _NAME.fullmatch(entry.name))
    }
    return dict(sorted(found.items()))


def _checked_start(folder: Path) -> Path:
    problem = weight_problem(folder)
    if problem is None and not (folder / "config.json").is_file():
        problem = f"{folder}: incomplete, it has no config.json"
    if problem is not None:
        raise RunError(f"{problem}; remove the folder to go on without a starting point")
    return folder


def _checked_state(folder: Path, step: int) -> SavedState:
    problem = checkpoint_problem(folder)
    if problem is not None:
        raise RunError(f"{problem}; remove the folder, or restore it from a copy")
    return SavedState.read(folder, step)
