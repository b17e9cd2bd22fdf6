"""What a study's work costs on this machine: timed and weighed on a few batches."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sprachbund.accuracy import predict_encoded
from sprachbund.attribution import AttributionConfig, Texts, portions_that_fit
from sprachbund.batching import Batcher, EncodedRow
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.memory import bank_dtype_named
from sprachbund.gradients.passes import Portion
from sprachbund.gradients.scoring import fill_bank, score_batch
from sprachbund.modeling import collate, encode, load_classifier, load_tokenizer
from sprachbund.study import Study

_Item = TypeVar("_Item")
_PREDICTED = 64  # rows: as many as a batch of predictions has
_SCORED = 3  # batches


@dataclass(frozen=True)
class Measured:
    """What was timed and weighed on a few batches: seconds of an optimizer step, of the forward pass of one example, of
    filling the bank of one pass, and of scoring one training example against it."""

    step_seconds: float
    forward_seconds: float
    filling_seconds: float
    scoring_seconds: float
    weights_nbytes: int
    bank_nbytes: int
    passes: int
    coverage: str


def measure(study: Study) -> Measured:
    """Load the model and the data, time one training step and one scored batch."""
    config, data = study.config, study.data
    model = load_classifier(config.model, data.train.labels, config.seeds[0])
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = load_tokenizer(config.model.path)
    train_rows, test_rows = (
        encode(corpus, tokenizer, config.model.max_length) for corpus in (data.train, data.test)
    )
    rows = _typical(train_rows, config.finetuning.batch_size)
    step = _seconds_of_training_step(model, collate(rows, tokenizer))
    forward = _seconds_of_prediction(model, tokenizer, _typical(train_rows, _PREDICTED))
    attribution = config.attribution
    batcher = Batcher(tokenizer, attribution.tokens_per_batch, attribution.batch_size)
    texts = Texts(
        train=data.train,
        test=data.test,
        train_rows=train_rows,
        test_rows=test_rows,
        tokenizer=tokenizer,
        batcher=batcher,
        max_length=config.model.max_length,
    )
    with GradientEngine(model) as engine:
        portions = portions_that_fit(engine, texts, attribution)
        coverage = engine.selection.coverage()
        timed = []
        # The first has the lowest parameters and goes down to them, the last has the highest.
        for number in sorted({0, len(portions) - 1}):
            portion = portions[number]
            with engine.narrowed(portion.parameters) as narrowed:
                timed.append(_seconds_of_pass(narrowed, texts, portion, attribution))
    filling, scoring = (statistics.mean(seconds) for seconds in zip(*timed, strict=True))
    return Measured(
        step_seconds=step,
        forward_seconds=forward,
        filling_seconds=filling,
        scoring_seconds=scoring,
        weights_nbytes=sum(parameter.nbytes for parameter in model.parameters()),
        bank_nbytes=max(portion.nbytes for portion in portions),
        passes=len(portions),
        coverage=coverage,
    )


def _typical(rows: list[EncodedRow], count: int) -> list[EncodedRow]:
    """Rows spread evenly over the lengths that occur."""
    return _spread(sorted(rows, key=lambda row: len(row["input_ids"])), count)


def _spread(ordered: Sequence[_Item], count: int) -> list[_Item]:
    count = min(count, len(ordered))
    return [ordered[(2 * i + 1) * len(ordered) // (2 * count)] for i in range(count)]


def _seconds_of_training_step(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> float:
    """Median seconds of an optimizer step as the Trainer makes it, the first being a warm-up."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0, fused=True)
    batch = {name: value.to(model.device) for name, value in batch.items()}
    model.train()
    seconds = []
    for _ in range(3):
        start = _now()
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(_now() - start)
    model.eval()
    return statistics.median(seconds)


def _seconds_of_prediction(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[EncodedRow]
) -> float:
    """Seconds for each row, as accuracy is measured, after a warm-up."""
    predict_encoded(model, tokenizer, rows)
    start = _now()
    predict_encoded(model, tokenizer, rows)
    return (_now() - start) / len(rows)


def _now() -> float:
    """Seconds, once everything that was begun on a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _seconds_of_pass(
    engine: GradientEngine, texts: Texts, portion: Portion, config: AttributionConfig
) -> tuple[float, float]:
    """Seconds of filling the bank with a portion, and of scoring a training example, from a few of the batches.

    Of those that the training set is packed into, by length: rows of all lengths in one would be mostly padding.
    """
    start = _now()
    tests = (batch for _, batch in texts.packed(portion))
    bank = fill_bank(engine, tests, bank_dtype_named(config.bank_dtype)).bank
    filling = _now() - start
    rows, batcher = texts.train_rows, texts.batcher
    packed = list(batcher.packed(rows))
    batches = [batcher.batch(rows, positions) for positions in _spread(packed, _SCORED)]
    score_batch(engine, bank, batches[0])  # lays out the bank
    start = _now()
    for batch in batches:
        score_batch(engine, bank, batch)
    return filling, (_now() - start) / len(batches) * len(packed) / len(rows)
