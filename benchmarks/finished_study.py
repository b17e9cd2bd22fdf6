"""A finished study's last checkpoint as a benchmark's subject: its model, and some of its examples in batches."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sprachbund.batching import Batcher
from sprachbund.data.corpus import Corpus
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.scoring import FilledBank, fill_bank, score_batch
from sprachbund.modeling import ModelConfig, encode, load_classifier, load_tokenizer
from sprachbund.runs import Run
from sprachbund.study_file import read_study


@dataclass(frozen=True)
class FinishedStudy:
    """The first seed's model as it was at the end, and every so manieth training and test example."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    train: Corpus
    test: Corpus

    @classmethod
    def open(cls, results: Path, train: int, tests: int) -> "FinishedStudy":
        config = read_study(results / "study.yaml")
        run = Run.open(results / "runs" / f"seed-{config.finetuning.seeds[0]}")
        path = run.checkpoints[-1].path
        train_rows, test_rows = (
            _every(Corpus.read(results / "data" / f"{name}.jsonl"), count)
            for name, count in (("train", train), ("test", tests))
        )
        length = config.model.max_length
        model_config = ModelConfig(path=str(path), max_length=length)
        model = load_classifier(model_config, train_rows.labels, seed=0)
        return cls(model, load_tokenizer(path), length, train_rows, test_rows)

    @classmethod
    def of_command_line(cls, description: str | None) -> "FinishedStudy":
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("results", type=Path, help="folder of a finished study")
        parser.add_argument("--train", type=int, default=960)
        parser.add_argument("--tests", type=int, default=32)
        options = parser.parse_args()
        return cls.open(options.results, options.train, options.tests)

    def batches(self, corpus: Corpus) -> Iterator[dict[str, Tensor]]:
        """Shortest first, always the same."""
        rows = encode(corpus, self.tokenizer, self.max_length)
        return (batch for _, batch in Batcher(self.tokenizer, 2048, 32)(rows))

    def fill(self, engine: GradientEngine, dtype: torch.dtype | None = None) -> FilledBank:
        """The bank of the test examples."""
        return fill_bank(engine, self.batches(self.test), dtype)

    def scores(self, engine: GradientEngine, filled: FilledBank) -> dict[str, Tensor]:
        """Exact "dot" and "cosine" with every training example, [M, N] float64."""
        parts = [score_batch(engine, filled.bank, batch) for batch in self.batches(self.train)]
        dot = torch.cat([part.dot_MB for part in parts], dim=1)
        norm_N = torch.cat([part.norm_B for part in parts])
        return {"dot": dot, "cosine": dot / (filled.norm_M[:, None] * norm_N[None, :])}


def _every(corpus: Corpus, count: int) -> Corpus:
    step = max(1, len(corpus) // count)
    return corpus.take(range(0, step * count, step))
