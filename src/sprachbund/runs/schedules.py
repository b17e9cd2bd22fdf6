"""The learning-rate schedule that a run's training arguments describe, rebuilt and confirmed."""

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sprachbund.errors import RunError, SprachbundWarning
from sprachbund.runs.checkpoint_files import SavedState, read_arguments

RECORD = "learning_rates.csv"
REMEDY = (
    "repeat the run with sprachbund's LearningRateRecorder among the Trainer's callbacks, or put a "
    f"{RECORD} with the columns step,learning_rate (a row for every step) beside the checkpoints"
)
_UNPREDICTABLE = ("reduce_lr_on_plateau", "greedy")
_COMMON = ("linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt")


def rebuilt_rates(states: Sequence[SavedState]) -> list[list[float]]:
    """The rates of the steps of each interval, if all that the run records agrees with them.

    Raises: RunError where the arguments are missing, or do not account for a recorded rate.
    """
    arguments = _common_arguments(states)
    last = states[-1]
    if last.taken > last.step or last.taken < 0:
        raise RunError(
            f"{last.path}: the scheduler took {last.taken} steps in {last.step}; {REMEDY}"
        )
    rates = _scheduled(last.path, arguments, last.taken + 1)
    _confirm(states, rates, arguments["lr_scheduler_type"])
    if not any(rate > 0 for rate in (*last.logged.values(), *(s.next_rate for s in states))):
        raise RunError(
            f"{last.path}: neither a logged learning rate nor a checkpoint before the end of the "
            f"schedule confirms the training arguments; {REMEDY}"
        )
    _warn_if_ambiguous(states, rates, arguments)
    return _split(states, rates)


def check_log(states: Sequence[SavedState], possible: Callable[[int], list[float]]) -> None:
    """Check the log against the rates, `possible` giving those that a step may have used.

    Since transformers 4.51 the Trainer logs the rate that a step used, before that the rate of the
    step to come; a whole log must be of one kind. Raises RunError otherwise.
    """
    last = states[-1]
    used = _first_contradiction(last.logged, possible)
    upcoming = _first_contradiction(
        {step + 1: rate for step, rate in last.logged.items() if step < last.step}, possible
    )
    if used is not None and upcoming is not None:
        raise RunError(
            f"{last.path}: the learning rate logged at step {used} is {last.logged[used]}, where "
            f"{' or '.join(map(str, possible(used)))} is expected"
        )


def _first_contradiction(
    rates: Mapping[int, float], possible: Callable[[int], list[float]]
) -> int | None:
    for step, rate in rates.items():
        if not any(same(rate, value) for value in possible(step)):
            return step
    return None


def _confirm(states: Sequence[SavedState], rates: Sequence[float], kind: str) -> None:
    """Compare with the scheduler saved in each checkpoint, and with the log."""
    for state in states:
        if not same(state.next_rate, rates[state.taken]):
            raise RunError(
                f"{state.path}: the rate in scheduler.pt is {state.next_rate}, but the training "
                f"arguments ({kind}) give {rates[state.taken]}, so another scheduler was used; "
                f"{REMEDY}"
            )
    try:
        check_log(states, _possible_rates(states, rates))
    except RunError as error:
        raise RunError(f"{error} by the training arguments ({kind}); {REMEDY}") from None


def _split(states: Sequence[SavedState], rates: Sequence[float]) -> list[list[float]]:
    bounds = itertools.pairwise([0, *(state.taken for state in states)])
    return [list(rates[start:stop]) for start, stop in bounds]


def _warn_if_ambiguous(
    states: Sequence[SavedState], rates: Sequence[float], arguments: Mapping[str, Any]
) -> None:
    """A scheduler handed to the Trainer leaves no name, and sparse records may fit it too."""
    sums = [math.fsum(interval) for interval in _split(states, rates)]
    others = []
    for kind in _COMMON:
        other = {**arguments, "lr_scheduler_type": kind, "lr_scheduler_kwargs": {}}
        candidate = _scheduled(states[-1].path, other, len(rates))
        try:
            _confirm(states, candidate, kind)
        except RunError:
            continue
        other_sums = [math.fsum(interval) for interval in _split(states, candidate)]
        if not all(map(same, sums, other_sums)):
            others.append(kind)
    if others:
        warnings.warn(
            f"{states[-1].path.parent}: the learning rates are those of the training arguments "
            f"({arguments['lr_scheduler_type']}), but the few that were recorded fit "
            f"{', '.join(others)} as well; if the Trainer was given a scheduler of your own, {REMEDY}",
            SprachbundWarning,
            stacklevel=2,
        )


def _possible_rates(
    states: Sequence[SavedState], rates: Sequence[float]
) -> Callable[[int], list[float]]:
    """The rates that a step may have used: several only between skipped steps."""

    def possible(step: int) -> list[float]:
        low, high = 0, 0
        for state in states:
            high = state.step - state.taken
            if step <= state.step:
                break
            low = high
        indices = (step - 1 - skipped for skipped in range(low, high + 1))
        return [rates[index] for index in indices if 0 <= index < len(rates)]

    return possible


def _common_arguments(states: Sequence[SavedState]) -> dict[str, Any]:
    """What determines the schedule, which must be the same in all checkpoints."""
    arguments = [_schedule_arguments(state) for state in states]
    for state, one in zip(states, arguments, strict=True):
        changed = sorted(key for key in one if one[key] != arguments[0][key])
        if changed:
            raise RunError(
                f"{state.path}: the run was resumed with another schedule ({', '.join(changed)}), "
                f"and where it changed is not recorded; {REMEDY}"
            )
    return arguments[0]


def _schedule_arguments(state: SavedState) -> dict[str, Any]:
    arguments = read_arguments(state.path)
    if arguments is None:
        raise RunError(f"{state.path}: no training_args.bin to rebuild the schedule from; {REMEDY}")
    missing = [key for key in ("learning_rate", "lr_scheduler_type") if key not in arguments]
    if missing or state.max_steps < 1:
        what = ", ".join(missing) or "the number of steps (max_steps in trainer_state.json)"
        raise RunError(f"{state.path}: the run does not record {what}; {REMEDY}")
    kind = str(arguments["lr_scheduler_type"])
    if kind in _UNPREDICTABLE:
        raise RunError(
            f"{state.path}: {kind} follows the evaluations, so unlogged rates are unknown; {REMEDY}"
        )
    if "lr_lambdas" not in (state.scheduler or {}):
        raise RunError(
            f"{state.path}: scheduler.pt is not of a schedule of transformers ({kind} in the "
            f"training arguments), so a scheduler of your own was used; {REMEDY}"
        )
    base = (state.scheduler or {}).get("base_lrs") or [math.nan]
    if not same(float(base[0]), float(arguments["learning_rate"])):
        raise RunError(
            f"{state.path}: the optimizer began with the rate {base[0]}, the training arguments "
            f"say {arguments['learning_rate']}; {REMEDY}"
        )
    return {
        "learning_rate": float(arguments["learning_rate"]),
        "lr_scheduler_type": kind,
        "lr_scheduler_kwargs": arguments.get("lr_scheduler_kwargs") or {},
        "warmup_steps": _warmup_steps(arguments, state.max_steps),
        "max_steps": state.max_steps,
    }


def _warmup_steps(arguments: Mapping[str, Any], max_steps: int) -> int:
    """Transformers 4 has warmup_steps and warmup_ratio; in 5 a warmup_steps below 1 is a ratio."""
    steps = float(arguments.get("warmup_steps") or 0)
    ratio = steps or float(arguments.get("warmup_ratio") or 0)
    return int(steps) if steps >= 1 else math.ceil(max_steps * ratio)


def _scheduled(path: Path, arguments: Mapping[str, Any], count: int) -> list[float]:
    """The first `count` rates of a schedule, from transformers' own code on a dummy optimizer."""
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=arguments["learning_rate"])
    try:
        scheduler = get_scheduler(
            arguments["lr_scheduler_type"],
            optimizer=optimizer,
            num_warmup_steps=arguments["warmup_steps"],
            num_training_steps=arguments["max_steps"],
            scheduler_specific_kwargs=dict(arguments["lr_scheduler_kwargs"]),
        )
        rates = [float(scheduler.get_last_lr()[0])]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch minds a schedule without optimizer steps
            while len(rates) < count:
                scheduler.step()
                rates.append(float(scheduler.get_last_lr()[0]))
    except (ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise RunError(
            f"{path}: the schedule {arguments['lr_scheduler_type']} cannot be rebuilt ({error}); "
            f"{REMEDY}"
        ) from error
    return rates


def same(one: float, other: float) -> bool:
    """Equal but for the last digits; the absolute part is for cosines that end next to zero."""
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-18)
