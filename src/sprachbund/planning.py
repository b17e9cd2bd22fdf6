"""What a study will do, how long that will take and what it will need, measured on a batch before anything is begun."""

import math
import time
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from sprachbund.batching import Batcher, EncodedRow
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.memory import bank_nbytes, examples_at_once
from sprachbund.gradients.parameters import select_parameters
from sprachbund.gradients.scoring import fill_bank, score_batch
from sprachbund.modeling import collate, encode, load_classifier, load_tokenizer
from sprachbund.study import Study


@dataclass(frozen=True)
class StagePlan:
    """One stage: what it does, what it costs, and whether it is done already."""

    name: str
    what: str
    seconds: float
    disk_nbytes: int
    is_done: bool


@dataclass(frozen=True)
class Plan:
    """The stages of a study with their costs, and the most memory any of them takes."""

    stages: tuple[StagePlan, ...]
    memory_nbytes: int
    passes: int
    coverage: str


@dataclass(frozen=True)
class _Measured:
    """What was timed and weighed on one batch."""

    step_seconds: float
    evaluation_seconds: float
    attribution_seconds: float
    weights_nbytes: int
    bank_nbytes: int
    passes: int
    coverage: str


def plan_study(study: Study) -> Plan:
    """Load the model and the data, time one training step and one scored batch, and reckon up the rest.

    Writes nothing. Raises: what the stages raise for data or a model that they cannot use.
    """
    measured = _measure(study)
    stages = (
        StagePlan("data", _data_sentence(study), 0.0, 0, study.is_fresh("data")),
        _finetuning_plan(study, measured),
        _attribution_plan(study, measured),
        StagePlan(
            "analyse", f"tables, k = {study.config.analysis.k}", 0.0, 0, study.is_fresh("analyse")
        ),
        StagePlan("report", "the page and its figures", 0.0, 0, study.is_fresh("report")),
    )
    memory = 4 * measured.weights_nbytes + measured.bank_nbytes
    return Plan(stages, memory, measured.passes, measured.coverage)


def _measure(study: Study) -> _Measured:
    config, data = study.config, study.data
    model = load_classifier(config.model, data.train.labels, config.finetuning.seeds[0])
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = load_tokenizer(config.model.path)
    train_rows, test_rows, evaluation_rows = (
        encode(corpus, tokenizer, config.model.max_length)
        for corpus in (data.train, data.test, data.evaluation)
    )
    rows = _typical(train_rows, config.finetuning.batch_size)
    step, forward = _seconds_of_training_step(model, collate(rows, tokenizer))
    longest = max(len(row["input_ids"]) for row in test_rows)
    selection, dtype = select_parameters(model, None), config.attribution.bank_dtype
    memory = config.attribution.memory_nbytes
    block = examples_at_once(selection, longest, len(test_rows), memory, dtype)
    batcher = Batcher(tokenizer, config.attribution.tokens_per_batch, config.attribution.batch_size)
    scoring, coverage = _seconds_of_attribution(model, batcher, train_rows, test_rows[:block])
    return _Measured(
        step_seconds=step,
        evaluation_seconds=forward * len(evaluation_rows) / len(rows),
        attribution_seconds=scoring,
        weights_nbytes=sum(parameter.nbytes for parameter in model.parameters()),
        bank_nbytes=bank_nbytes(selection, longest, block, dtype),
        passes=math.ceil(len(test_rows) / block),
        coverage=coverage,
    )


def _finetuning_plan(study: Study, measured: _Measured) -> StagePlan:
    config = study.config.finetuning
    seeds, epochs = len(config.seeds), config.epochs
    steps = math.ceil(len(study.data.train) / config.batch_size) * epochs
    evaluation = measured.evaluation_seconds * (epochs + 1)
    return StagePlan(
        "finetune",
        f"{seeds} run(s) of {steps} steps, accuracy on {len(study.data.evaluation):,} examples",
        seeds * (measured.step_seconds * steps + evaluation),
        seeds * measured.weights_nbytes * (3 * epochs + 1),
        study.is_fresh("finetune"),
    )


def _attribution_plan(study: Study, measured: _Measured) -> StagePlan:
    config, data, passes = study.config.finetuning, study.data, measured.passes
    checkpoints = len(config.seeds) * (config.epochs + 1)
    return StagePlan(
        "attribute",
        f"{len(data.train):,} training x {len(data.test):,} test examples at {config.epochs + 1} checkpoints, "
        f"{passes} pass(es) each",
        checkpoints * passes * measured.attribution_seconds,
        checkpoints * 4 * len(data.train) * len(data.test),
        study.is_fresh("attribute"),
    )


def _data_sentence(study: Study) -> str:
    languages = study.config.languages
    zero_shot = [tag for tag in languages.test if tag not in languages.train]
    extra = f", zero-shot {' '.join(zero_shot)}" if zero_shot else ""
    return f"train on {' '.join(languages.train)}{extra}"


def _typical(rows: list[EncodedRow], count: int) -> list[EncodedRow]:
    """Rows spread evenly over the lengths that occur."""
    order = sorted(rows, key=lambda row: len(row["input_ids"]))
    count = min(count, len(rows))
    return [order[(2 * i + 1) * len(order) // (2 * count)] for i in range(count)]


def _seconds_of_training_step(
    model: PreTrainedModel, batch: dict[str, torch.Tensor]
) -> tuple[float, float]:
    """Seconds of one optimizer step, and of the forward pass alone, after a warm-up."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    batch = {name: value.to(model.device) for name, value in batch.items()}
    seconds = forward = math.inf
    for _ in range(3):
        start = time.perf_counter()
        loss = model(**batch).loss
        forward = min(forward, time.perf_counter() - start)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, forward


def _seconds_of_attribution(
    model: PreTrainedModel,
    batcher: Batcher,
    train_rows: list[EncodedRow],
    test_rows: list[EncodedRow],
) -> tuple[float, str]:
    """Seconds of one checkpoint for these test rows: bank and scores, from one typical batch."""
    typical = _typical(train_rows, batcher.examples)
    with GradientEngine(model) as engine:
        start = time.perf_counter()
        bank = fill_bank(engine, (batch for _, batch in batcher(test_rows))).bank
        filling = time.perf_counter() - start
        batches = [batch for _, batch in batcher(typical)]
        score_batch(engine, bank, batches[0])  # lays out the bank
        start = time.perf_counter()
        for batch in batches:
            score_batch(engine, bank, batch)
        scoring = (time.perf_counter() - start) * len(train_rows) / len(typical)
        return filling + scoring, engine.selection.coverage()
