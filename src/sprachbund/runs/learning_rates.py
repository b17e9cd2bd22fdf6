"""The learning rate of each optimizer step of a Trainer run, recovered exactly or not at all.

Three sources, in this order: `learning_rates.csv` beside the checkpoints; the Trainer's own log, if
it has every step; the schedule rebuilt from the training arguments (schedules.py). All must agree
with every rate in the log, and the last two with the scheduler saved in every checkpoint.
"""

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from sprachbund.errors import RunError
from sprachbund.runs.checkpoint_files import SavedState, read_arguments
from sprachbund.runs.schedules import RECORD, REMEDY, check_log, rebuilt_rates, same


def interval_rates(run: Path, states: Sequence[SavedState]) -> list[list[float]]:
    """The rates of the optimizer steps between each checkpoint and the one before it.

    Before the first of `states` (in order of step) stands the beginning of the run.

    Raises: RunError where the rates are not recorded exactly, saying what is missing.
    """
    _check_one_run(states)
    if (run / RECORD).is_file():
        rates = _read_record(run / RECORD, states[-1].step)
        _check_record(run / RECORD, states, rates)
        return [
            [rates[step] for step in range(start + 1, stop + 1)] for start, stop in _bounds(states)
        ]
    _check_schedulers(states)
    logged = states[-1].logged
    if _log_is_complete(states):
        return [
            [logged[step] for step in range(start + 1, stop + 1)] for start, stop in _bounds(states)
        ]
    return rebuilt_rates(states)


def _bounds(states: Sequence[SavedState]) -> list[tuple[int, int]]:
    return [(a, b.step) for a, b in zip([0, *(s.step for s in states)], states, strict=False)]


def _check_one_run(states: Sequence[SavedState]) -> None:
    """A later checkpoint's log begins with that of an earlier one, and both have one seed, if one run wrote them."""
    seeds = {
        state.path.name: arguments.get("seed")
        for state in states
        if (arguments := read_arguments(state.path)) is not None
    }
    if len({*seeds.values()}) > 1:
        said = ", ".join(f"{name} with seed {seed}" for name, seed in seeds.items())
        raise RunError(
            f"{states[0].path.parent}: {said}, so they come from different runs; keep the checkpoints of one run in a "
            "folder"
        )
    for before, after in itertools.pairwise(states):
        if any(after.logged.get(step) != rate for step, rate in before.logged.items()):
            raise RunError(
                f"{after.path}: its log contradicts that of {before.path.name}, so they come from "
                "different runs; keep the checkpoints of one run in a folder"
            )


def _check_schedulers(states: Sequence[SavedState]) -> None:
    """Each checkpoint must say how far its schedule had come, with one rate for all parameters."""
    for state in states:
        if state.scheduler is None:
            raise RunError(
                f"{state.path}: no scheduler.pt (save_only_model=True leaves it out), so its "
                f"learning rates cannot be confirmed; {REMEDY}"
            )
        rates = state.scheduler.get("_last_lr")
        if not rates or not isinstance(state.scheduler.get("last_epoch"), int):
            raise RunError(f"{state.path}: scheduler.pt has no learning rate and step; {REMEDY}")
        base = state.scheduler.get("base_lrs") or rates
        if any(not same(rate, rates[0]) for rate in rates) or any(
            not same(rate, base[0]) for rate in base
        ):
            raise RunError(
                f"{state.path}: groups of parameters have different learning rates "
                f"({', '.join(map(str, rates))}), which no single weight of a checkpoint expresses"
            )


def _log_is_complete(states: Sequence[SavedState]) -> bool:
    """Whether the log holds the rate used by every step, confirmed by the checkpoints' schedulers.

    Since transformers 4.51 the Trainer logs the rate that a step used, before that the rate of the
    step to come. Only the first can be used as it stands; a log that fits both is left to
    `rebuilt_rates`, and so is one with skipped steps, whose rates are logged like any other.
    """
    last = states[-1]
    if any(step not in last.logged for step in range(1, last.step + 1)):
        return False
    if any(state.taken != state.step for state in states):
        return False
    used = all(same(last.logged[s.step + 1], s.next_rate) for s in states if s is not last)
    upcoming = all(same(last.logged[s.step], s.next_rate) for s in states)
    if not used and not upcoming:
        raise RunError(f"{last.path}: the logged learning rates contradict scheduler.pt; {REMEDY}")
    constant = all(same(rate, last.logged[1]) for rate in last.logged.values())
    return used and (not upcoming or constant)


def _read_record(path: Path, last_step: int) -> dict[int, float]:
    rates: dict[int, float] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                step, rate = int(row["step"]), float(row["learning_rate"])
                if step in rates:
                    raise ValueError(f"row {number}: step {step} is repeated")
                if not math.isfinite(rate) or rate < 0:
                    raise ValueError(
                        f"row {number}: the rate is {rate}; where parameters have different rates, "
                        "no single weight of a checkpoint expresses them"
                    )
                rates[step] = rate
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read: {error} (columns: step,learning_rate)") from error
    missing = [step for step in range(1, last_step + 1) if step not in rates]
    if missing:
        raise RunError(
            f"{path}: {len(missing)} of the steps 1 to {last_step} are missing, first {missing[0]}"
        )
    return rates


def _check_record(path: Path, states: Sequence[SavedState], rates: dict[int, float]) -> None:
    try:
        check_log(states, lambda step: [rates[step]])
    except RunError as error:
        raise RunError(f"{error} by {path.name}; correct or remove {path}") from None
