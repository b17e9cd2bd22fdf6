"""A Trainer callback that writes down the learning rate of every optimizer step.

For runs whose rates cannot be read from what the Trainer saves by itself: schedulers of one's own,
ReduceLROnPlateau, save_only_model.
"""

import csv
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sprachbund.runs.schedules import RECORD


class LearningRateRecorder(TrainerCallback):  # type: ignore[misc]
    """Writes `learning_rates.csv` (step, learning_rate) into the output folder, row by row.

    A step that mixed precision skipped has the rate 0. Where groups of parameters have different
    rates there is no one rate to write; the row is then `nan`, and `Run.open` refuses it. A resumed
    run goes on after the step of its checkpoint.
    """

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002  (the Trainer passes it by position)
        **_: Any,
    ) -> None:
        """Begin the file, keeping the steps before the checkpoint that training goes on from."""
        if not state.is_world_process_zero:
            return
        path = Path(args.output_dir) / RECORD
        kept = []
        if path.is_file() and state.global_step > 0:
            with path.open(newline="", encoding="utf-8") as file:
                kept = [
                    row for row in csv.DictReader(file) if int(row["step"]) <= state.global_step
                ]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("step", "learning_rate"))
            writer.writerows((row["step"], row["learning_rate"]) for row in kept)

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        """Note the rate of the step just taken; the scheduler has not moved on yet."""
        if not state.is_world_process_zero:
            return
        rates = {float(group["lr"]) for group in optimizer.param_groups}
        rate = rates.pop() if len(rates) == 1 else float("nan")
        if getattr(optimizer, "step_was_skipped", False):
            rate = 0.0
        with (Path(args.output_dir) / RECORD).open("a", encoding="utf-8") as file:
            file.write(f"{state.global_step + 1},{rate!r}\n")
