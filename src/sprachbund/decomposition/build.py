"""Building a decomposition: each checkpoint is taken apart piece by piece, then all is put into one labelled result."""

import json
import shutil
from pathlib import Path
from typing import Any

import xarray as xr

from sprachbund import __version__
from sprachbund.attribution import AttributionConfig
from sprachbund.data.corpus import Corpus
from sprachbund.decomposition.assembly import assembled
from sprachbund.decomposition.checkpoint import PASSES, Examples, is_whole, take_apart
from sprachbund.decomposition.config import DecompositionConfig
from sprachbund.decomposition.pieces import Pieces
from sprachbund.decomposition.result import FORMAT_VERSION, KIND, Decomposition
from sprachbund.errors import InfluenceError, RunError, StudyError
from sprachbund.folder_lock import only_process
from sprachbund.runs import Checkpoint, Run
from sprachbund.runs.checkpoint_files import content_fingerprint
from sprachbund.store.dataset import write_dataset
from sprachbund.watch import Notice, Progress, Watch
from sprachbund.writing import write_problem


def decompose(
    run: Run,
    train: Corpus,
    test: Corpus,
    path: Path,
    *,
    config: DecompositionConfig,
    attribution: AttributionConfig,
    max_length: int = 128,
    on_progress: Progress | None = None,
    on_notice: Notice | None = None,
) -> Decomposition:
    """Take the influence of a run's training examples on `test` apart; `attribution` says how it was computed.

    Killed at any moment and called again with the same arguments, it computes what is missing. The scores of all
    checkpoints and groups are in memory when the result is put together. `on_progress` counts a training example in
    each of the passes over it; `on_notice` is told how many parameters are covered.

    Raises: GradientError if a score would be wrong; RunError if there is no checkpoint but the starting point;
        StudyError if the disk refuses or another process computes it.
    """
    checkpoints = _chosen(run, config)
    about = _about(checkpoints, train, test, attribution, max_length)
    if _is_finished(path, about):
        return Decomposition.open(path)
    pieces = Pieces(path.with_name(path.name + ".partial"))
    with only_process(pieces.folder):
        pieces.begin(about)
        steps = PASSES * len(train)
        watch = Watch(steps * len(checkpoints), on_progress, on_notice)
        for position, checkpoint in enumerate(checkpoints, start=1):
            if not is_whole(pieces, checkpoint.step, len(train)):
                examples = Examples.encode(train, test, checkpoint, max_length, attribution)
                take_apart(pieces, checkpoint, examples, attribution, watch)
            watch.reach(position * steps)
        dataset = assembled(pieces, checkpoints, train, test, attribution.method)
        _put_in_place(pieces, dataset.assign_attrs(_attributes(attribution.method, about)), path)
    return Decomposition.open(path)


def _chosen(run: Run, config: DecompositionConfig) -> tuple[Checkpoint, ...]:
    """The starting point counts in no total, and is never taken apart."""
    counting = tuple(checkpoint for checkpoint in run.checkpoints if checkpoint.step > 0)
    if not counting:
        raise RunError(
            f"{run.path}: holds only the starting point; nothing was learnt to take apart"
        )
    return counting if config.checkpoints == "all" else counting[-1:]


def _about(
    checkpoints: tuple[Checkpoint, ...],
    train: Corpus,
    test: Corpus,
    attribution: AttributionConfig,
    max_length: int,
) -> dict[str, Any]:
    """All that the result depends on."""
    return {
        "sprachbund_version": __version__,
        "train": train.fingerprint(),
        "test": test.fingerprint(),
        "checkpoints": [content_fingerprint(checkpoint.path) for checkpoint in checkpoints],
        "attribution": json.loads(attribution.model_dump_json())
        | {"memory": attribution.memory_nbytes},
        "max_length": max_length,
    }


def _attributes(method: str, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "sprachbund_version": __version__,
        "method": method,
        "provenance": json.dumps(about, sort_keys=True, ensure_ascii=False),
    }


def _is_finished(path: Path, about: dict[str, Any]) -> bool:
    """Whether this very decomposition is there already."""
    try:
        found = Decomposition.open(path).dataset.attrs.get("provenance", "{}")
    except InfluenceError:  # none, or a damaged one: it is made anew
        return False
    return bool(json.loads(found) == about)


def _put_in_place(pieces: Pieces, dataset: xr.Dataset, path: Path) -> None:
    """Write the result aside, let it take the place of an older one, and remove the pieces."""
    aside = pieces.folder / "result.zarr"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        write_dataset(aside, dataset)
        if path.exists():
            path.rename(pieces.folder / "replaced.zarr")
        aside.rename(path)
        pieces.clear()
    except OSError as error:
        raise StudyError(f"{path}: {write_problem(path, error)}") from error
