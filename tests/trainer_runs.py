"""Short runs of the Hugging Face Trainer, as a user would have them, and the rates they used."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging as transformers_logging

from tiny_models import tiny_tokenizer


@dataclass(frozen=True)
class PlainRun:
    folder: Path
    used: list[float]  # the learning rate of each step


def train_plain_run(folder: Path) -> PlainRun:
    """Two epochs of five steps, linear with warm-up, every step logged; copy it to change it."""
    return PlainRun(folder, train(folder, logging_steps=1, warmup_steps=2))


class UsedRates(TrainerCallback):
    """Notes the rate in the optimizer itself at the moment of each of its steps."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_begin(self, args, state, control, optimizer=None, **_):
        getattr(optimizer, "optimizer", optimizer).register_step_pre_hook(
            lambda inner, *_: self.rates.append(inner.param_groups[0]["lr"])
        )


def train(
    folder: Path,
    *,
    examples: int = 20,
    optimizers: Any = (None, None),
    callbacks: Any = (),
    trainer_class: type[Trainer] = Trainer,
    resume: bool = False,
    **arguments: Any,
) -> list[float]:
    """Train a tiny model into `folder`; return the learning rate of each optimizer step, in order."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    config = BertConfig(
        vocab_size=24,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=16,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(config)
    data = [
        {"input_ids": [0, 4 + i % 20, 2], "attention_mask": [1, 1, 1], "labels": i % 2}
        for i in range(examples)
    ]
    defaults = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "save_strategy": "epoch",
        "learning_rate": 1e-3,
    }
    used = UsedRates()
    if optimizers != (None, None):
        optimizers = optimizers(model)
    trainer = trainer_class(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **{**defaults, **arguments},
        ),
        train_dataset=data,
        eval_dataset=data[:4],
        processing_class=tiny_tokenizer(),
        optimizers=optimizers,
        callbacks=[used, *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=resume)
    return used.rates


def edit_state(checkpoint: Path, edit: Any) -> None:
    """Rewrite trainer_state.json after `edit` has changed it in place."""
    path = checkpoint / "trainer_state.json"
    state = json.loads(path.read_text())
    edit(state)
    path.write_text(json.dumps(state))


def edit_scheduler(checkpoint: Path, **changes: Any) -> None:
    """Rewrite scheduler.pt with other values."""
    state = torch.load(checkpoint / "scheduler.pt", weights_only=True)
    torch.save({**state, **changes}, checkpoint / "scheduler.pt")
