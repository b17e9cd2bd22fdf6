"""Joint fine-tuning with the Hugging Face Trainer: one checkpoint an epoch, and the starting point.

A run is repeatable bit for bit on a CPU, and one that was killed goes on at its last whole checkpoint
to the very weights that it would have had. Evaluation is left to accuracy.py, so that training
never depends on it.
"""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from sprachbund.accuracy import evaluate_run
from sprachbund.data.corpus import Corpus
from sprachbund.errors import RunError
from sprachbund.folder_lock import only_process
from sprachbund.freshness import model_fingerprint
from sprachbund.model_checks import quiet
from sprachbund.modeling import Encoder, ModelConfig, collate, load_classifier, load_tokenizer
from sprachbund.runs import Run
from sprachbund.runs.run_folder import (
    STARTING_POINT,
    check_space,
    claim,
    is_unfinished,
    last_whole_checkpoint,
    write_starting_point,
    writing,
)

Progress = Callable[[int, int, float], None]
"""Called after each optimizer step with the step, the number of steps, and the loss."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy, which the Trainer seeds too, takes


class FinetuningConfig(BaseModel):
    """How the model is fine-tuned; the defaults are those of the study where it names them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=3, ge=1, description="Passes over the training examples.")
    learning_rate: float = Field(
        default=2e-5, gt=0, allow_inf_nan=False, description="Highest learning rate of AdamW."
    )
    batch_size: int = Field(default=16, ge=1, description="Examples in a batch.")
    gradient_accumulation: int = Field(
        default=1, ge=1, description="Batches whose gradients are added up for one optimizer step."
    )
    seeds: tuple[Seed, ...] = Field(
        default=(0,), min_length=1, description="One run for each: head, order and dropout."
    )
    weight_decay: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="Decoupled weight decay of AdamW."
    )
    warmup_ratio: float = Field(
        default=0.0, ge=0, lt=1, description="Part of the steps in which the rate rises from 0."
    )
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        default="linear", description="How the learning rate falls after the warm-up."
    )

    @field_validator("seeds")
    @classmethod
    def _once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        for position, seed in enumerate(seeds):
            if seed in seeds[:position]:
                raise ValueError(f"{seed} is listed twice; each seed is a run of its own")
        return seeds


def finetune(
    model_config: ModelConfig,
    config: FinetuningConfig,
    corpus_train: Corpus,
    corpus_evaluation: Corpus | None,
    folder: Path,
    seed: int,
    on_progress: Progress | None = None,
    encoder: Encoder | None = None,
) -> Run:
    """Fine-tune on all languages of a corpus together, going on where an earlier call was stopped.

    Writes `checkpoint-0` (the model with its new head, before training), one checkpoint an epoch,
    and, given a corpus for it, accuracy.csv. A finished run is opened and not trained again. Sets
    the global random seeds. Runs of one model can share an `encoder`.

    Raises: RunError if the loss is not finite, the folder holds a run of other settings, or a file
    cannot be written; StudyError if another process trains here or the folder cannot be made;
    ModelError if the model does not fit.
    """
    folder = Path(folder)
    with writing(folder), only_process(folder):
        claim(folder, _settings(model_config, config, corpus_train, seed))
        encoder = encoder or Encoder(load_tokenizer(model_config.path), model_config.max_length)
        steps = steps_of_epoch(config, len(corpus_train))
        ends = [steps * (epoch + 1) for epoch in range(config.epochs)]
        last = last_whole_checkpoint(folder, ends)
        if last is None or is_unfinished(last):
            _train(model_config, config, corpus_train, folder, seed, encoder, last, on_progress)
        elif not (folder / STARTING_POINT).is_dir():
            start = load_classifier(model_config, corpus_train.labels, seed)
            write_starting_point(folder, start, encoder.tokenizer)
        run = Run.open(folder)
        if corpus_evaluation is not None:
            evaluate_run(run, corpus_evaluation, max_length=model_config.max_length)
    return run


def _train(
    model_config: ModelConfig,
    config: FinetuningConfig,
    corpus: Corpus,
    folder: Path,
    seed: int,
    encoder: Encoder,
    last: Path | None,
    on_progress: Progress | None,
) -> None:
    if len(corpus) == 0:
        raise RunError(f"{corpus.name}: no training examples")
    model, tokenizer = load_classifier(model_config, corpus.labels, seed), encoder.tokenizer
    if last is None:
        check_space(folder, model, config.epochs)
    if not (folder / STARTING_POINT).is_dir():
        write_starting_point(folder, model, tokenizer)
    with quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(torch|transformers|accelerate)\.")
        trainer = Trainer(
            model=model,
            args=_arguments(config, len(corpus), folder, seed),
            train_dataset=encoder(corpus),
            data_collator=lambda rows: collate(rows, tokenizer),
            processing_class=tokenizer,
            compute_loss_func=_mean_loss,
            callbacks=[_Watch(on_progress)],
        )
        trainer.remove_callback(PrinterCallback)
        set_seed(seed)
        trainer.train(resume_from_checkpoint=None if last is None else str(last))


def _settings(
    model_config: ModelConfig, config: FinetuningConfig, corpus: Corpus, seed: int
) -> dict[str, Any]:
    return {
        "model": model_config.use,
        "model files": model_fingerprint(model_config.path),
        "finetuning": config.model_dump(mode="json", exclude={"seeds"}),
        "seed": seed,
        "data": corpus.fingerprint(),
    }


def steps_of_epoch(config: FinetuningConfig, examples: int) -> int:
    """Optimizer steps of one pass over so many training examples."""
    batches = math.ceil(examples / config.batch_size)
    return math.ceil(batches / config.gradient_accumulation)


def _arguments(
    config: FinetuningConfig, examples: int, folder: Path, seed: int
) -> TrainingArguments:
    steps = steps_of_epoch(config, examples) * config.epochs
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        weight_decay=config.weight_decay,
        warmup_steps=math.ceil(steps * config.warmup_ratio),
        lr_scheduler_type=config.lr_scheduler,
        # One pass over each parameter: several times faster on a CPU, where embeddings are large.
        optim="adamw_torch_fused",
        seed=seed,
        save_strategy="epoch",
        # Every step's rate goes into trainer_state.json, which survives a kill with the checkpoint.
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        report_to="none",
    )
    if arguments.n_gpu > 1:
        # The Trainer would spread over all GPUs and multiply the batch size by their number.
        arguments._n_gpu = 1
    return arguments


def _mean_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Cross-entropy, averaged over all the examples of an optimizer step.

    The Trainer hands a model the number of examples of all accumulated batches and trusts it to
    divide by it; BERT and XLM-R ignore it, so that their gradients would be too large by the number
    of accumulated batches.
    """
    total = torch.nn.functional.cross_entropy(outputs.logits, labels, reduction="sum")
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Reports progress, and stops before weights that are not numbers are saved."""

    def __init__(self, on_progress: Progress | None) -> None:
        self.on_progress = on_progress

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002  (the Trainer passes it by name)
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        for name, what in (("loss", "loss"), ("grad_norm", "gradient norm")):
            if not math.isfinite(logs.get(name, 0.0)):
                raise RunError(
                    f"{args.output_dir}: the {what} is {logs[name]} at step {state.global_step} of "
                    f"{state.max_steps}; lower the learning rate, or look for broken examples"
                )
        if self.on_progress is not None:
            self.on_progress(state.global_step, state.max_steps, float(logs["loss"]))
