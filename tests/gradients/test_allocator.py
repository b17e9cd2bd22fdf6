"""What is freed while the engine is open is there for the next batch, and what a bank takes stands apart from it."""

import ctypes
import platform
import resource
import subprocess
import sys
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


_KEPT = """
import ctypes, torch
from sprachbund.gradients.allocator import freed_memory_kept
from sprachbund.gradients.products import linear

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"

class Allocated(ctypes.Structure):  # glibc's mallinfo2
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Allocated
x, weight = torch.ones(4096, 256), torch.ones(256, 256)
with freed_memory_kept():
    before = mallinfo().hblkhd
    for _ in range(2):
        linear(x, weight, None)
        print(mallinfo().hblkhd - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc before 2.33")
def test_what_onednn_keeps_of_a_product_has_pages_of_its_own() -> None:
    """In a new process, whose heap has no room for it."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        pytest.skip("no oneDNN")
    done = subprocess.run([sys.executable, "-c", _KEPT], capture_output=True, text=True, check=True)
    of_first, of_both = map(int, done.stdout.split())
    assert of_both == of_first > 2**17
