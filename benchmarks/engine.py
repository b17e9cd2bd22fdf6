"""Exact influence against its floor: a plain forward and backward epoch over the same batches, in the same run.

python benchmarks/engine.py [--threads 1] [--repeat 3]
"""

import argparse
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import transformers
from transformers import AutoModelForSequenceClassification, PreTrainedModel, XLMRobertaConfig

from sprachbund import pairwise_influence

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """One row of the table: so many training and test examples of so many tokens."""

    tokens: int
    train: int
    test: int


CASES = (
    Case(8, 512, 70),
    Case(32, 256, 16),
    Case(32, 256, 125),
    Case(128, 256, 16),
    Case(128, 256, 125),
)


def small_model() -> PreTrainedModel:
    """XLM-R's shape with 4 layers x 256 and a vocabulary of 32,000: random weights, 11.4 M numbers."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=32_000,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=514,
        num_labels=3,
    )
    return AutoModelForSequenceClassification.from_config(config).eval()


def batches(examples: int, tokens: int, size: int, seed: int) -> list[Batch]:
    """Full-length random batches: no padding for either side to gain from."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=generator)

    return [
        {
            "input_ids": integers(5, 32_000, size, tokens),
            "attention_mask": torch.ones(size, tokens, dtype=torch.long),
            "labels": integers(0, 3, size),
        }
        for _ in range(examples // size)
    ]


def plain_epoch(model: PreTrainedModel, data: Iterable[Batch]) -> None:
    """The floor: what an ordinary training epoch computes, without the optimizer."""
    for batch in data:
        model.zero_grad(set_to_none=True)
        model(**batch).loss.backward()


def median_seconds(work: Callable[[], object], repeat: int) -> float:
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{platform.processor() or platform.machine()}, {options.threads} threads, torch {torch.__version__}, "
        f"transformers {transformers.__version__}; medians of {options.repeat}"
    )
    print(f"{'T':>4} {'N':>5} {'M':>4} {'floor s':>8} {'cosine s':>8} {'ratio':>6} {'peak MiB':>9}")
    model = small_model()
    for case in CASES:
        train = batches(case.train, case.tokens, 32, seed=1)
        test = batches(case.test, case.tokens, case.test, seed=2)
        plain_epoch(model, train[:1])
        floor = median_seconds(lambda: plain_epoch(model, [*train, *test]), options.repeat)  # noqa: B023
        ours = median_seconds(
            lambda: pairwise_influence(model, train, test, "cosine"),  # noqa: B023
            options.repeat,
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{case.tokens:4} {case.train:5} {case.test:4} {floor:8.2f} {ours:8.2f} {ours / floor:6.2f} {peak:9.0f}"
        )


if __name__ == "__main__":
    main()
