"""Runs of one's own in place of a fine-tuning: what a study finds out about them, and what cannot be done with them."""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sprachbund.attribution import doubt_about_training
from sprachbund.configuration import StudyConfig
from sprachbund.errors import ConfigurationError, SprachbundWarning
from sprachbund.influence import Influence
from sprachbund.modeling import doubt_about_classes
from sprachbund.runs import Run
from sprachbund.runs.checkpoint_files import read_arguments, read_state

if TYPE_CHECKING:
    from sprachbund.study.stages import Study


def with_their_model(config: StudyConfig, base: Path) -> StudyConfig:
    """The configuration with the last checkpoint of the first run as its model: it brings the tokenizer.

    A study that fine-tunes, or names a model, is returned as it is. Raises: RunError if that run cannot be used;
    ConfigurationError if one is given twice.
    """
    paths = config.run_paths(base)
    for position, path in enumerate(paths):
        if path in paths[:position]:
            raise ConfigurationError(f"runs: {path} is listed twice; each is a seed of its own")
    if not config.runs or config.model.path:
        return config
    last = Run.open(paths[0]).checkpoints[-1].path
    return config.model_copy(update={"model": config.model.model_copy(update={"path": str(last)})})


def open_run(path: Path, n_train: int) -> Run:
    """Open a run, with a warning if it was trained on more or fewer examples than are given. Raises: RunError."""
    run = Run.open(path)
    doubt = doubt_about(run, n_train)
    if doubt:
        warnings.warn(f"run {path.name}: {doubt}", SprachbundWarning, stacklevel=2)
    return run


def doubt_about(run: Run, n_train: int) -> str:
    """What follows where the number of training examples cannot be that of the run's steps; empty where it can."""
    least, most = _examples_of_epoch(run)
    if n_train < least:
        return (
            f"by its trainer_state.json it was trained on at least {least:,} examples, but {n_train:,} are "
            "given: shares are of what is given, and a language whose data is left out looks as if it had never been "
            "trained on. Give all of its training data, and all of its languages"
        )
    if n_train > most:
        return (
            f"by its trainer_state.json an epoch on one device was {most:,} examples at most, but "
            f"{n_train:,} are given: what it was not trained on would count as its training data. Give what it was "
            "trained on alone (of several devices the number is so many times as large)"
        )
    return ""


def doubts_about(study: "Study", influences: Mapping[int, Influence]) -> list[str]:
    """What was warned of when the runs were measured and attributed, for the page, which outlives the warnings."""
    config, n_train = study.config, len(study.data.train)
    said = [
        f"seed {seed}: {doubt}"
        for seed, influence in influences.items()
        if (doubt := doubt_about_training(influence))
    ]
    for path in config.run_paths(study.base):
        run = Run.open(path)
        doubts = (
            doubt_about(run, n_train),
            doubt_about_classes(run.checkpoints[-1].path, study.data.train.labels),
        )
        said += [f"run {path.name}: {doubt}" for doubt in doubts if doubt]
    return said


def check_fine_tunes(config: StudyConfig, command: str) -> None:
    """Raises: ConfigurationError for runs of one's own: how they were made is not known to the last detail."""
    if config.runs:
        raise ConfigurationError(
            f"`sprachbund {command}` fine-tunes anew, and cannot do so as `runs` of your own were; it needs a study "
            "that fine-tunes (`model` and `finetuning`)"
        )


def _examples_of_epoch(run: Run) -> tuple[int, float]:
    """The least and the most that an epoch of the run may have had: full batches but the last, on one device."""
    last = run.checkpoints[-1]
    size = read_state(last.path).get("train_batch_size") if last.step else None
    if not last.epoch or not isinstance(size, int):
        return 0, math.inf
    steps = last.step / last.epoch
    arguments = read_arguments(last.path) or {}
    added = arguments.get("gradient_accumulation_steps")
    # A last batch that is not full is dropped by some loaders, and so are steps that are not whole.
    most = (math.ceil(steps) + 1) * size * added if isinstance(added, int) else math.inf
    return (math.floor(steps) - 1) * size + 1, most
