"""What is freed while the engine is open is there for the next batch, and what a bank takes stands apart from it."""

import platform
import resource
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor

from sprachbund.gradients.allocator import freed_memory_kept, mapped_apart

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told anything"
)
_NUMBERS = 16 * 2**20  # 64 MiB: beyond the largest size that glibc would keep by itself
_PAGES = 4 * _NUMBERS // 4096
_HUGE = 2**29  # 2 GiB, never touched: nothing free in the heap fits it


def part_touched_anew(tensors: int = 32) -> float:
    """Of large tensors, each freed before the next, the part whose pages the kernel handed out anew.

    Of so many that the remainders of their alignment no longer fit glibc's caches, which keep the first from being
    used again.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(tensors):
        torch.empty(_NUMBERS).fill_(1.0)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / (tensors * _PAGES)


def is_in_the_heap(tensor: Tensor) -> bool:
    maps = Path("/proc/self/maps").read_text().splitlines()
    heap = next(line.split()[0] for line in maps if line.endswith("[heap]"))
    start, stop = (int(address, 16) for address in heap.split("-"))
    return start <= tensor.data_ptr() < stop


def test_large_tensors_of_the_next_batch_are_not_handed_out_anew_by_the_kernel() -> None:
    with freed_memory_kept():
        assert part_touched_anew() < 0.5, "what was freed went back to the system"


def test_everything_is_given_back_on_leaving() -> None:
    resident = psutil.Process().memory_info
    with freed_memory_kept():
        together = [torch.ones(_NUMBERS) for _ in range(4)]
        del together
        inside = resident().rss
    given_back = inside - resident().rss
    assert given_back > 3 * 4 * _NUMBERS, "a model trained afterwards would lack this memory"


def test_what_is_mapped_apart_is_not_in_the_heap_and_what_follows_is_kept() -> None:
    with freed_memory_kept():
        with mapped_apart():
            assert not is_in_the_heap(torch.empty(_HUGE)), "a bank would stand amid the batches"
        assert part_touched_anew() < 0.5, "the batches' memory would not be kept"
