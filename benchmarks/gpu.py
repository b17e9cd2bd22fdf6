"""Exact influence on a GPU at the size of the study: XLM-R base, T = 128, N = 10,000, M = 125, one checkpoint.

python benchmarks/gpu.py [--train 10000] [--tests 125] [--tokens 128] [--checkpoints 10] [--whole]

Prints the seconds of a plain training epoch in bfloat16 (autocast) and float32 (tf32 on, and off) and of exact cosine
scores over the same examples (inner products come from the same pass, at the same cost), their ratios against the goal,
peak memory, the difference of both scores from the CPU's on a few examples against its goal, and what the attribution
of a whole study of so many checkpoints takes: extrapolated, or run (`--whole`). The memory for test gradients is what
a study takes by default.
"""

import argparse
import time
from collections.abc import Callable

import torch
from shapes import SHAPES, Batch, build, lengths_of, packed, plain_epoch
from transformers import PreTrainedModel

from sprachbund import pairwise_influence
from sprachbund.gradients.memory import readable, share_of_machine_nbytes
from sprachbund.gradients.pairwise import Similarity

_COMPARED = 24
_MOST_EPOCHS = 1.3
_MOST_DIFFERENCE = {"high": 1e-3, "highest": 1e-5}  # tf32 on, off


def _seconds(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _differences_from_cpu(
    model: PreTrainedModel, train: list[Batch], test: list[Batch]
) -> dict[str, float]:
    """Relative difference of the first scores from the CPU's, Frobenius norm, by similarity."""
    few_train = [{name: value[:_COMPARED] for name, value in train[0].items()}]
    few_test = [{name: value[:4] for name, value in test[0].items()}]
    kinds: tuple[Similarity, ...] = ("dot", "cosine")
    on_gpu = {kind: pairwise_influence(model, few_train, few_test, kind).cpu() for kind in kinds}
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    model.cpu()
    on_cpu = {kind: pairwise_influence(model, few_train, few_test, kind) for kind in kinds}
    torch.set_float32_matmul_precision(precision)
    model.cuda()
    return {
        kind: float((on_gpu[kind] - on_cpu[kind]).norm() / on_cpu[kind].norm()) for kind in kinds
    }


def _judged(value: float, most: float, text: str) -> str:
    return f"{text} (goal {most:g}: {'met' if value <= most else 'missed'})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--tests", type=int, default=125)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--whole", action="store_true", help="score at so many checkpoints")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU here: run this on a machine that has one")
    shape = SHAPES["base"]
    train = packed(shape, lengths_of(options.train, options.tokens, "full", seed=1), seed=1)
    test = packed(shape, lengths_of(options.tests, options.tokens, "full", seed=2), seed=2)
    model = build(shape).cuda()
    device = torch.cuda.get_device_name()
    memory = str(share_of_machine_nbytes())

    def score() -> torch.Tensor:
        return pairwise_influence(model, train, test, "cosine", memory=memory)

    print(
        f"{device}, {readable(int(memory))} for test gradients, torch {torch.__version__}, "
        f"N={options.train} M={options.tests} T={options.tokens}"
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
        ours = _seconds(score)
        peak = torch.cuda.max_memory_allocated() / 2**30
        ratio = _judged(ours / floor, _MOST_EPOCHS, f"ratio {ours / floor:.2f}")
        print(
            f"matmul precision {precision}: epoch {floor:.1f} s, scores {ours:.1f} s, {ratio}, "
            f"{_judged(ours / bfloat16, _MOST_EPOCHS, f'{ours / bfloat16:.2f} of the epoch in bfloat16')}, "
            f"peak {peak:.1f} GiB"
        )
        for kind, found in _differences_from_cpu(model, train, test).items():
            most = _MOST_DIFFERENCE[precision]
            print(
                "  " + _judged(found, most, f"{kind}: relative difference from the CPU {found:.1e}")
            )
        whole = options.checkpoints * ours
        if options.whole:
            whole = _seconds(lambda: [score() for _ in range(options.checkpoints)])
        how = "run" if options.whole else "extrapolated"
        print(f"  {options.checkpoints} checkpoints, {how}: {whole / 60:.1f} min")


if __name__ == "__main__":
    main()
