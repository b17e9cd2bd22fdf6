"""Exact influence against its floor: a plain forward and backward epoch over the same examples, in the same run.

python benchmarks/engine.py [--models small base] [--tokens 32 64 128] [--tests 16 125 500] [--lengths full varied]
                            [--threads 1] [--repeat 3] [--memory 12GiB]

Dot products and norms come from one pass, so that the time of cosines is that of inner products, too. "passes": how
often the training set is passed over, where the test gradients do not fit the memory at once. "kernel": the part of
the time that the system took, nearly all of it to hand out memory. "ratio" is that of the medians, "best" that of the
fastest turns: where others share the processor, these say what it does when they are still.
"""

import argparse
import gc
import itertools
import multiprocessing
import platform
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from shapes import SHAPES, Batch, batches, build, lengths_of, packed, plain_epoch

from sprachbund import pairwise_influence
from sprachbund.gradients.batches import examples_within
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.memory import parse_nbytes
from sprachbund.gradients.pairwise import portions_of
from sprachbund.gradients.passes import Portion
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
    memory: str


@dataclass(frozen=True)
class Subject:
    """The model and both sides' batches: padded as they come for the floor, packed by length for us."""

    model: transformers.PreTrainedModel
    plain: list[Batch]
    train: list[Batch]
    test: list[Batch]
    memory: str

    @classmethod
    def of(cls, case: Case) -> "Subject":
        torch.set_num_threads(case.threads)
        shape = SHAPES[case.model]
        train = lengths_of(case.train, case.tokens, case.lengths, seed=1)
        test = lengths_of(case.tests, case.tokens, case.lengths, seed=2)
        plain = [*batches(shape, train, 32, seed=1), *batches(shape, test, 32, seed=2)]
        ours = packed(shape, train, seed=1), packed(shape, test, seed=2)
        return cls(build(shape), plain, *ours, case.memory)

    def plain_epoch(self) -> None:
        """The floor."""
        plain_epoch(self.model, self.plain)

    def influence(self) -> None:
        """Dot products and norms come from one pass, so that cosine is the whole of both."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the gradients of .* do not fit")  # a column says it
            pairwise_influence(self.model, self.train, self.test, "cosine", memory=self.memory)

    def portions(self, engine: GradientEngine) -> tuple[Portion, ...]:
        """What each pass scores."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the gradients of .* do not fit")
            nbytes = parse_nbytes(self.memory)
            return portions_of(engine, self.train, self.test, nbytes, "float32")


@dataclass(frozen=True)
class Seconds:
    """Of one turn: by the clock, and what the kernel took of it."""

    whole: float
    kernel: float

    @classmethod
    def of(cls, work: Callable[[], object]) -> "Seconds":
        kernel, start = resource.getrusage(resource.RUSAGE_SELF).ru_stime, time.perf_counter()
        work()
        whole = time.perf_counter() - start
        return cls(whole, resource.getrusage(resource.RUSAGE_SELF).ru_stime - kernel)

    @classmethod
    def median(cls, turns: Sequence["Seconds"]) -> "Seconds":
        return cls(
            *(statistics.median(vars(turn)[name] for turn in turns) for name in vars(turns[0]))
        )


def best(turns: Sequence[Seconds]) -> float:
    return min(turn.whole for turn in turns)


def time_both(case: Case) -> tuple[list[Seconds], list[Seconds]]:
    """The floor's turns and ours, one after the other after a warm-up."""
    subject = Subject.of(case)
    subject.plain_epoch() if case.model == "small" else None
    plain, ours = [], []
    for _ in range(case.repeat):
        plain.append(Seconds.of(subject.plain_epoch))
        subject.model.zero_grad(set_to_none=True)
        ours.append(Seconds.of(subject.influence))
    return plain, ours


def _peak_nbytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def floor_nbytes(case: Case) -> int:
    """Peak memory of a plain training step beyond the model."""
    subject = Subject.of(case)
    before = _peak_nbytes()
    subject.plain_epoch()
    return _peak_nbytes() - before


def our_nbytes(case: Case) -> tuple[int, int, int]:
    """Peak memory beyond model and bank, the bank's (of one pass), and the number of passes."""
    subject = Subject.of(case)
    before = _peak_nbytes()
    subject.influence()
    after = _peak_nbytes()
    gc.collect()
    with GradientEngine(subject.model) as engine:
        portions = subject.portions(engine)
        largest = max(portions, key=lambda portion: portion.nbytes)
        with engine.narrowed(largest.parameters) as narrowed:
            bank = fill_bank(narrowed, examples_within(subject.test, largest.tests)).bank
            nbytes = bank.nbytes
    return after - before - nbytes, nbytes, len(portions)


def in_a_new_process(work: Callable[[Case], Any], case: Case) -> Any:
    """Raises: BrokenProcessPool if the process dies, for want of memory for instance."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(work, case).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=["small"])
    parser.add_argument("--tokens", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--tests", nargs="+", type=int, default=[16, 125, 500])
    parser.add_argument("--lengths", nargs="+", choices=["full", "varied"], default=["full"])
    parser.add_argument("--train", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--memory", default="12GiB", help="for the test gradients")
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {options.threads} threads, torch {torch.__version__}, "
        f"transformers {transformers.__version__}; medians of {options.repeat}"
    )
    print(
        f"{'model':>6} {'lengths':>7} {'T':>4} {'N':>5} {'M':>4} {'passes':>6} {'floor s':>8} {'kernel':>6} "
        f"{'ours s':>8} {'kernel':>6} {'ratio':>6} {'best':>6} {'bank MiB':>9} {'beside it':>9} {'plain step':>10} "
        f"{'ratio':>6}"
    )
    for model, lengths, tokens, tests in itertools.product(
        options.models, options.lengths, options.tokens, options.tests
    ):
        case = Case(
            *(model, lengths, tokens, options.train, tests),
            *(options.threads, options.repeat, options.memory),
        )
        floors, turns = in_a_new_process(time_both, case)
        floor, ours = Seconds.median(floors), Seconds.median(turns)
        plain_nbytes = in_a_new_process(floor_nbytes, case)
        nbytes, bank, passes = in_a_new_process(our_nbytes, case)
        print(
            f"{model:>6} {lengths:>7} {tokens:4} {case.train:5} {tests:4} {passes:6} {floor.whole:8.2f} "
            f"{floor.kernel:6.2f} {ours.whole:8.2f} {ours.kernel:6.2f} {ours.whole / floor.whole:6.2f} "
            f"{best(turns) / best(floors):6.2f} {bank / 2**20:9.0f} {nbytes / 2**20:9.0f} {plain_nbytes / 2**20:10.0f} "
            f"{nbytes / plain_nbytes:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
