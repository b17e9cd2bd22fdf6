"""Exact influence on a GPU at the size of the study: XLM-R base, T = 128, N = 10,000, M = 125, one checkpoint.

python benchmarks/gpu.py [--train 10000] [--tests 125] [--tokens 128] [--checkpoints 10]

Prints the seconds of a plain training epoch in bfloat16 (autocast) and float32 (tf32 on, and off) and of exact cosine
scores over the same examples, their ratios, peak memory, the difference from the CPU's scores on a few examples, and
what the attribution of a whole study of so many checkpoints takes.
"""

import argparse
import time
from collections.abc import Callable

import torch
from shapes import SHAPES, Batch, build, lengths_of, packed, plain_epoch
from transformers import PreTrainedModel

from sprachbund import pairwise_influence

_COMPARED = 24


def _seconds(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _difference_from_cpu(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> float:
    """Relative difference of the first scores from the CPU's, Frobenius norm."""
    few_train = [{name: value[:_COMPARED] for name, value in train[0].items()}]
    few_test = [{name: value[:4] for name, value in test[0].items()}]
    on_gpu = pairwise_influence(model, few_train, few_test, "cosine").cpu()
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    on_cpu = pairwise_influence(model.cpu(), few_train, few_test, "cosine")
    torch.set_float32_matmul_precision(precision)
    model.cuda()
    return float((on_gpu - on_cpu).norm() / on_cpu.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--tests", type=int, default=125)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--checkpoints", type=int, default=10)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU here: run this on a machine that has one")
    shape = SHAPES["base"]
    train = packed(shape, lengths_of(options.train, options.tokens, "full", seed=1), seed=1)
    test = packed(shape, lengths_of(options.tests, options.tokens, "full", seed=2), seed=2)
    model = build(shape).cuda()
    device = torch.cuda.get_device_name()
    print(
        f"{device}, torch {torch.__version__}, N={options.train} M={options.tests} T={options.tokens}"
    )
    with torch.autocast("cuda", torch.bfloat16):
        plain_epoch(model, train[:2])
        bfloat16 = _seconds(lambda: plain_epoch(model, [*train, *test]))
    model.zero_grad(set_to_none=True)
    print(f"plain epoch in bfloat16: {bfloat16:.1f} s")
    for precision in ("high", "highest"):  # tf32 on, off
        torch.set_float32_matmul_precision(precision)
        plain_epoch(model, train[:2])
        floor = _seconds(lambda: plain_epoch(model, [*train, *test]))
        model.zero_grad(set_to_none=True)
        pairwise_influence(model, train[:2], test[:1], "cosine")
        torch.cuda.reset_peak_memory_stats()
        ours = _seconds(lambda: pairwise_influence(model, train, test, "cosine", memory="60GiB"))
        peak = torch.cuda.max_memory_allocated() / 2**30
        difference = _difference_from_cpu(model, train, test)
        print(
            f"matmul precision {precision}: epoch {floor:.1f} s, scores {ours:.1f} s, ratio {ours / floor:.2f} "
            f"({ours / bfloat16:.2f} of bfloat16), "
            f"peak {peak:.1f} GiB, relative difference from the CPU {difference:.1e}; "
            f"{options.checkpoints} checkpoints: {options.checkpoints * ours / 60:.1f} min"
        )


if __name__ == "__main__":
    main()
