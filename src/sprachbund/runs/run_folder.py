"""The folder of a fine-tuning run: what it was made from, where it stopped, and room to write."""

import contextlib
import itertools
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sprachbund.errors import RunError, SprachbundWarning
from sprachbund.model_checks import quiet
from sprachbund.runs import checkpoint_folders
from sprachbund.runs.checkpoint_files import checkpoint_problem, read_state, weight_problem

RUN_RECORD = "run.json"
STARTING_POINT = "checkpoint-0"


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Note what a run is made from; refuse a folder that holds one made from something else.

    What a record of an older version has besides, where the model lay, does not count.

    A run of other settings that was not trained yet holds nothing to lose, and is begun anew: its starting point goes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / RUN_RECORD
    has_checkpoints = any(step > 0 for step in checkpoint_folders(folder))
    if has_checkpoints and not record.is_file():
        raise RunError(f"{folder}: holds a run that was not started here; choose another folder")
    if record.is_file():
        changed = sorted(_changed(_read_record(record), settings))
        if not changed:
            return
        if has_checkpoints:
            raise RunError(
                f"{folder}: holds a run with other settings ({', '.join(changed)}); "
                "choose another folder, or remove this one to train again"
            )
        shutil.rmtree(folder / STARTING_POINT, ignore_errors=True)
    _write_json(record, settings)


def _changed(found: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    for section, values in settings.items():
        kept = found.get(section)
        if isinstance(values, Mapping) and isinstance(kept, Mapping):
            kept = {name: value for name, value in kept.items() if name in values}
        if kept != values:
            yield section


def _read_record(record: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{record}: damaged, not valid JSON ({error})") from error
    if not isinstance(found, dict):
        raise RunError(f"{record}: damaged, not a record of a run")
    return found


def last_whole_checkpoint(folder: Path, steps: Sequence[int]) -> Path | None:
    """The checkpoint to go on from, if any: all of `steps` up to it are there, so that training makes none too few.

    What a killed process left half-written, or what was damaged since, is removed.
    """
    whole = {}
    for step, path in checkpoint_folders(folder).items():
        problem = weight_problem(path) if step == 0 else checkpoint_problem(path)
        if problem is None:
            whole[step] = path
        else:
            warnings.warn(f"{problem}: removed, to be made again", SprachbundWarning, stacklevel=3)
            shutil.rmtree(path)
    there = list(itertools.takewhile(whole.__contains__, steps))
    return whole[there[-1]] if there else None


def is_unfinished(checkpoint: Path) -> bool:
    """Whether the run had more steps to go at this checkpoint. Raises RunError if damaged."""
    state = read_state(checkpoint)
    return bool(state["global_step"] < state["max_steps"])


def write_starting_point(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Write `checkpoint-0`, whole or not at all."""
    partial = folder / f"{STARTING_POINT}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    with quiet():
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    partial.rename(folder / STARTING_POINT)


def check_space(folder: Path, model: PreTrainedModel, epochs: int) -> None:
    """Refuse a disk without room for weights and two moments of AdamW, and the starting point."""
    weights = sum(parameter.nbytes for parameter in model.parameters())
    needed, free = weights * (3 * epochs + 1), shutil.disk_usage(folder).free
    if free < needed:
        raise RunError(
            f"{folder}: {epochs} checkpoints need {needed / 1e9:.1f} GB, but the disk has only "
            f"{free / 1e9:.1f} GB free; free some, or train for fewer epochs"
        )


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses into one clear line, a RunError."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        problem = _write_problem(error)
        if problem is None:
            raise
        raise RunError(
            f"{folder}: {problem}; finished checkpoints are kept, so mend it and start again"
        ) from error


def _write_problem(error: Exception) -> str | None:
    """What an error while writing means, or None where it is of another kind."""
    text = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, OSError | SafetensorError):
        return f"cannot be written: {text}"
    # torch.save reports a full disk as a bare RuntimeError of its archive writer.
    return f"cannot be written (disk full?): {text}" if "PytorchStreamWriter" in text else None


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    partial.replace(path)
