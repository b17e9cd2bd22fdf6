"""Attribution of a run: every test prediction to every training example, checkpoint by checkpoint.

Each checkpoint is loaded once, its test gradients make the bank, and the training set streams past it in shards that
are written as soon as they are whole; what was written is not computed again.
"""

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sprachbund.accuracy import predict
from sprachbund.batching import Batcher, EncodedRow
from sprachbund.data.corpus import Corpus
from sprachbund.errors import ConfigurationError, SprachbundWarning
from sprachbund.gradients.bank import Bank
from sprachbund.gradients.batches import Batch
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.memory import (
    BankDtype,
    bank_dtype_named,
    parse_nbytes,
    share_of_machine_nbytes,
)
from sprachbund.gradients.passes import (
    Portion,
    Sums,
    Work,
    passes_in_words,
    portions_within,
)
from sprachbund.gradients.scoring import BatchScores, FilledBank, fill_bank, score_batch
from sprachbund.influence import Influence
from sprachbund.methods import Method, method_named
from sprachbund.modeling import encode, load_checkpoint, load_tokenizer
from sprachbund.runs import Checkpoint, Run
from sprachbund.runs.checkpoint_files import content_fingerprint
from sprachbund.store.writer import InfluenceWriter, Shard
from sprachbund.watch import Notice, Progress, Watch


class AttributionConfig(BaseModel):
    """How predictions are attributed to training examples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["tracin", "tracin-cosine"] = Field(
        default="tracin-cosine",
        description="tracin-cosine: gradient cosine, as in the study; tracin: inner product, by learning rate.",
    )
    batch_size: int = Field(default=32, ge=1, description="Most examples in a batch.")
    tokens_per_batch: int = Field(
        default=2048, ge=1, description="Most tokens in a batch, padding included."
    )
    memory: str | None = Field(
        default=None,
        description='Memory for the test gradients, such as "16GiB"; by default half of the machine\'s, or '
        "five eighths of the GPU's. Where they do not fit at once, the training set is passed over several times.",
    )

    bank_dtype: BankDtype = Field(
        default="float32",
        description="bfloat16 halves the memory of the test gradients and rounds them to three digits.",
    )

    @field_validator("memory")
    @classmethod
    def _size(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_nbytes(value)
            except ConfigurationError as error:
                raise ValueError(str(error)) from error
        return value

    @property
    def memory_nbytes(self) -> int:
        return share_of_machine_nbytes() if self.memory is None else parse_nbytes(self.memory)


def attribute(
    run: Run,
    train: Corpus,
    test: Corpus,
    path: Path,
    *,
    config: AttributionConfig,
    max_length: int = 128,
    provenance: Mapping[str, Any] | None = None,
    on_progress: Progress | None = None,
    on_notice: Notice | None = None,
) -> Influence:
    """Attribute the predictions on `test` to the examples of `train` at every checkpoint of a run.

    Written to `path` shard by shard; killed at any moment and called again with the same arguments, it computes what is
    missing, and the result is the same to the bit. `on_notice` is told how many of the parameters are attributed, and
    in how many passes.

    Raises: GradientError if a score would be wrong; RunError, ModelError, InfluenceError, StudyError for a damaged
        checkpoint or result, or a folder that cannot be written.
    """
    checkpoints = pd.DataFrame(
        {
            "step": [checkpoint.step for checkpoint in run.checkpoints],
            "epoch": [checkpoint.epoch for checkpoint in run.checkpoints],
            "learning_rate": [checkpoint.learning_rate for checkpoint in run.checkpoints],
        }
    )
    stated = {
        **(provenance or {}),
        "attribution": json.loads(config.model_dump_json()) | {"memory": config.memory_nbytes},
        "max_length": max_length,
        "checkpoints": [content_fingerprint(checkpoint.path) for checkpoint in run.checkpoints],
    }
    watch = Watch(len(run.checkpoints) * len(train), on_progress, on_notice)
    with InfluenceWriter.create_or_resume(
        path,
        train=train.frame,
        test=test.frame,
        checkpoints=checkpoints,
        labels=train.labels,
        method=config.method,
        provenance=stated,
    ) as writer:
        for position, checkpoint in enumerate(run.checkpoints):
            pending = writer.pending(position)
            watch.add(len(train) - sum(shard.stop - shard.start for shard in pending))
            if pending or writer.test_pending(position):
                texts = Texts.encode(train, test, checkpoint, max_length, config)
                _score_checkpoint(writer, position, checkpoint, texts, config, watch)
        influence = writer.finish()
    doubt = doubt_about_training(influence)
    if doubt:
        warnings.warn(doubt, SprachbundWarning, stacklevel=2)
    return influence


def doubt_about_training(influence: Influence) -> str:
    """What to think of a model that guesses on its own training examples; empty where it does better."""
    last = influence.dataset.isel(checkpoint=-1)
    loss, guess = float(last["train_loss"].mean()), math.log(len(influence.labels))
    if not last["checkpoint"] > 0 or loss < guess:
        return ""
    return (
        f"at its last checkpoint the model's mean loss on these training examples is {loss:.3f}, that of a guess "
        f"among {len(influence.labels)} labels {guess:.3f}. Either it has learned nothing, or they are not what it was "
        "trained on: other rows, labels in another order, texts cut or joined otherwise"
    )


@dataclass(frozen=True)
class Texts:
    """Training and test examples, encoded for one checkpoint."""

    train: Corpus
    test: Corpus
    train_rows: list[EncodedRow]
    test_rows: list[EncodedRow]
    tokenizer: PreTrainedTokenizerBase
    batcher: Batcher
    max_length: int

    @classmethod
    def encode(
        cls,
        train: Corpus,
        test: Corpus,
        checkpoint: Checkpoint,
        max_length: int,
        config: AttributionConfig,
    ) -> "Texts":
        tokenizer = load_tokenizer(checkpoint.path)
        return cls(
            train=train,
            test=test,
            train_rows=encode(train, tokenizer, max_length),
            test_rows=encode(test, tokenizer, max_length),
            tokenizer=tokenizer,
            batcher=Batcher(tokenizer, config.tokens_per_batch, config.batch_size),
            max_length=max_length,
        )

    @property
    def longest_test(self) -> int:
        """Tokens of the longest test example."""
        return max(len(row["input_ids"]) for row in self.test_rows)

    @cached_property
    def shortest_first(self) -> list[int]:
        """The positions of the test examples by their length."""
        rows = self.test_rows
        return sorted(range(len(rows)), key=lambda i: (len(rows[i]["input_ids"]), i))

    def packed(self, portion: Portion) -> list[tuple[list[int], Batch]]:
        """The test examples of a portion in batches, each with their positions."""
        block = self.shortest_first[portion.tests]
        batches = self.batcher([self.test_rows[i] for i in block])
        return [([block[i] for i in positions], batch) for positions, batch in batches]


def _score_checkpoint(
    writer: InfluenceWriter,
    position: int,
    checkpoint: Checkpoint,
    texts: Texts,
    config: AttributionConfig,
    watch: Watch,
) -> None:
    """Score what is pending at one checkpoint, in one pass for each portion of the bank that fits."""
    model = load_checkpoint(checkpoint.path, texts.train.labels, texts.max_length)
    method = method_named(config.method)
    pending, n_test = writer.pending(position), len(texts.test)
    sums: dict[Shard, Sums] = {}
    test_squares_M, test_loss_M = (torch.zeros(n_test, dtype=torch.float64) for _ in range(2))
    with GradientEngine(model) as engine:
        portions = portions_that_fit(engine, texts, config)
        watch.say(f"{engine.selection.coverage()}; {passes_in_words(portions)}")
        for portion in portions:
            with engine.narrowed(portion.parameters) as narrowed:
                filled, order = _bank(narrowed, texts, portion, config)
                test_squares_M[order] += filled.norm_M.square()
                test_loss_M[order] = filled.loss_M
                for shard in pending:
                    scores = _score_shard(narrowed, filled.bank, texts, shard)
                    if shard not in sums:
                        sums[shard] = Sums.zeros(n_test, len(scores.norm_B))
                    sums[shard].add(portion, scores, order)
                    if portion is portions[-1]:
                        total = sums.pop(shard)
                        _write(writer, shard, total, test_squares_M, scores.loss_B, method)
                        watch.add(shard.stop - shard.start)
                del filled  # its memory is the next pass's
    if writer.test_pending(position):
        prediction, probability = _predictions(model, texts)
        writer.write_test(
            position,
            gradient_norm=test_squares_M.sqrt().float().numpy(),
            loss=test_loss_M.float().numpy(),
            prediction=prediction,
            probability=probability,
        )


def _write(
    writer: InfluenceWriter,
    shard: Shard,
    sums: Sums,
    test_squares_M: torch.Tensor,
    loss_N: torch.Tensor,
    method: Method,
) -> None:
    """Write a shard whose portions are all in."""
    norm_N = sums.squares_N.sqrt()
    influence_MN = method.influence(sums.dot_MN, test_squares_M.sqrt(), norm_N)
    writer.write(
        shard,
        influence=influence_MN.float().numpy(),
        train_gradient_norm=norm_N.float().numpy(),
        train_loss=loss_N.float().numpy(),
    )


def portions_that_fit(
    engine: GradientEngine, texts: Texts, config: AttributionConfig
) -> tuple[Portion, ...]:
    """What each pass scores; positions of test examples are those in `texts.shortest_first`."""
    _, batch = next(texts.batcher(texts.test_rows[:1]))
    work = Work(len(texts.train), len(texts.test), texts.longest_test)
    calls = engine.calls(batch)
    return portions_within(config.memory_nbytes, engine.selection, work, config.bank_dtype, calls)


def _bank(
    engine: GradientEngine, texts: Texts, portion: Portion, config: AttributionConfig
) -> tuple[FilledBank, list[int]]:
    """The bank of a portion, and the test positions in the bank's order."""
    packed = texts.packed(portion)
    dtype = bank_dtype_named(config.bank_dtype)
    filled = fill_bank(engine, (batch for _, batch in packed), dtype)
    return filled, [i for positions, _ in packed for i in positions]


def _score_shard(engine: GradientEngine, bank: Bank, texts: Texts, shard: Shard) -> BatchScores:
    """Scores of one shard, its examples in the order of the training set."""
    size = shard.stop - shard.start
    dot_MN = torch.zeros(bank.size, size, dtype=torch.float64)
    norm_N, loss_N = (torch.zeros(size, dtype=torch.float64) for _ in range(2))
    for positions, batch in texts.batcher(texts.train_rows[shard.start : shard.stop]):
        scores = score_batch(engine, bank, batch)
        dot_MN[:, positions] = scores.dot_MB
        norm_N[positions], loss_N[positions] = scores.norm_B, scores.loss_B
    return BatchScores(dot_MN, norm_N, loss_N)


def _predictions(model: PreTrainedModel, texts: Texts) -> tuple[list[str], np.ndarray]:
    """The predicted label of each test example and its probability."""
    logits = torch.from_numpy(predict(model, texts.tokenizer, texts.test, texts.max_length))
    probability, index = torch.softmax(logits, dim=1).max(dim=1)
    labels = texts.train.labels
    return [labels[i] for i in index.tolist()], probability.numpy()
