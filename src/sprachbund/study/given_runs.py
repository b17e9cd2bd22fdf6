"""Runs of one's own in place of a fine-tuning: what a study finds out about them, and what cannot be done with them."""

import math
import warnings
from pathlib import Path

from sprachbund.configuration import StudyConfig
from sprachbund.errors import ConfigurationError, SprachbundWarning
from sprachbund.runs import Run
from sprachbund.runs.checkpoint_files import read_state


def with_their_model(config: StudyConfig, base: Path) -> StudyConfig:
    """The configuration with the last checkpoint of the first run as its model: the tokenizer and the name are its own.

    A study that fine-tunes, or names a model, is returned as it is. Raises: RunError if that run cannot be used.
    """
    if not config.runs or config.model.path:
        return config
    last = Run.open(config.run_paths(base)[0]).checkpoints[-1].path
    return config.model_copy(update={"model": config.model.model_copy(update={"path": str(last)})})


def open_run(path: Path, n_train: int) -> Run:
    """Open a run, with a warning if it was trained on more examples than are given. Raises: RunError."""
    run = Run.open(path)
    least = _least_examples(run)
    if n_train < least:
        warnings.warn(
            f"{path}: by its trainer_state.json it was trained on at least {least:,} examples, but {n_train:,} are "
            "given: shares of data that is not all there are of what is there. Give all of its training data, and all "
            "of its languages",
            SprachbundWarning,
            stacklevel=2,
        )
    return run


def check_fine_tunes(config: StudyConfig, command: str) -> None:
    """Raises: ConfigurationError for runs of one's own: how they were made is not known to the last detail."""
    if config.runs:
        raise ConfigurationError(
            f"`sprachbund {command}` fine-tunes anew, and cannot do so as `runs` of your own were; give `model` and "
            "`finetuning` in place of `runs`"
        )


def _least_examples(run: Run) -> int:
    """What an epoch of the run has seen for sure: full batches but the last; gradients may be of several batches."""
    last = run.checkpoints[-1]
    if not last.epoch:
        return 0
    size = read_state(last.path).get("train_batch_size")
    steps = math.floor(last.step / last.epoch)
    return (steps - 1) * size + 1 if isinstance(size, int) else 0
