"""Exact influence against its floor: a plain forward and backward epoch over the same examples, in the same run.

python benchmarks/engine.py [--models small base] [--tokens 32 64 128] [--tests 16 125 500] [--lengths full varied]
                            [--threads 1] [--repeat 3]
"""

import argparse
import gc
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers
from shapes import SHAPES, Batch, batches, build, lengths_of, packed, plain_epoch

from sprachbund import pairwise_influence
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.scoring import fill_bank


@dataclass(frozen=True)
class Case:
    """One row of the table: so many training and test examples of at most so many tokens."""

    model: str
    lengths: str
    tokens: int
    train: int
    tests: int
    threads: int
    repeat: int


@dataclass(frozen=True)
class Subject:
    """The model and both sides' batches: padded as they come for the floor, packed by length for us."""

    model: transformers.PreTrainedModel
    plain: list[Batch]
    train: list[Batch]
    test: list[Batch]

    @classmethod
    def of(cls, case: Case) -> "Subject":
        torch.set_num_threads(case.threads)
        shape = SHAPES[case.model]
        train = lengths_of(case.train, case.tokens, case.lengths, seed=1)
        test = lengths_of(case.tests, case.tokens, case.lengths, seed=2)
        plain = [*batches(shape, train, 32, seed=1), *batches(shape, test, 32, seed=2)]
        return cls(build(shape), plain, packed(shape, train, seed=1), packed(shape, test, seed=2))

    def plain_epoch(self) -> None:
        """The floor."""
        plain_epoch(self.model, self.plain)

    def influence(self) -> None:
        """Dot products and norms come from one pass, so that cosine is the whole of both."""
        pairwise_influence(self.model, self.train, self.test, "cosine")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def time_both(case: Case) -> tuple[float, float]:
    """Median seconds of the floor and of ours, taken in turns after a warm-up."""
    subject = Subject.of(case)
    subject.plain_epoch() if case.model == "small" else None
    turns = [
        (_seconds(subject.plain_epoch), _seconds(subject.influence)) for _ in range(case.repeat)
    ]
    plain, ours = zip(*turns, strict=True)
    return statistics.median(plain), statistics.median(ours)


def _peak_nbytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def floor_nbytes(case: Case) -> int:
    """Peak memory of a plain training step beyond the model."""
    subject = Subject.of(case)
    before = _peak_nbytes()
    subject.plain_epoch()
    return _peak_nbytes() - before


def our_nbytes(case: Case) -> tuple[int, int]:
    """Peak memory beyond model and bank, and the bank's."""
    subject = Subject.of(case)
    before = _peak_nbytes()
    subject.influence()
    after = _peak_nbytes()
    gc.collect()
    with GradientEngine(subject.model) as engine:
        bank = fill_bank(engine, subject.test).bank
    return after - before - bank.nbytes, bank.nbytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=["small"])
    parser.add_argument("--tokens", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--tests", nargs="+", type=int, default=[16, 125, 500])
    parser.add_argument("--lengths", nargs="+", choices=["full", "varied"], default=["full"])
    parser.add_argument("--train", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {options.threads} threads, torch {torch.__version__}, "
        f"transformers {transformers.__version__}; medians of {options.repeat}"
    )
    print(
        f"{'model':>6} {'lengths':>7} {'T':>4} {'N':>5} {'M':>4} {'floor s':>8} {'ours s':>8} {'ratio':>6} "
        f"{'bank MiB':>9} {'beside it':>9} {'plain step':>10} {'ratio':>6}"
    )
    spawn = multiprocessing.get_context("spawn")
    for model in options.models:
        for lengths in options.lengths:
            for tokens in options.tokens:
                for tests in options.tests:
                    case = Case(
                        model,
                        lengths,
                        tokens,
                        options.train,
                        tests,
                        options.threads,
                        options.repeat,
                    )
                    with spawn.Pool(1, maxtasksperchild=1) as fresh:
                        floor, ours = fresh.apply(time_both, (case,))
                        plain_nbytes = fresh.apply(floor_nbytes, (case,))
                        nbytes, bank = fresh.apply(our_nbytes, (case,))
                    print(
                        f"{model:>6} {lengths:>7} {tokens:4} {case.train:5} {tests:4} {floor:8.2f} {ours:8.2f} "
                        f"{ours / floor:6.2f} {bank / 2**20:9.0f} {nbytes / 2**20:9.0f} "
                        f"{plain_nbytes / 2**20:10.0f} {nbytes / plain_nbytes:6.2f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
