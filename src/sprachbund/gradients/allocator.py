"""Keeping freed memory for the next batch, where the C library would give it back to the system.

A pass of the engine keeps nothing, so that glibc returns gigabytes after each batch and the kernel hands them out
again page by page: a tenth of the time of a pass and more, measured.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
"""Where glibc's own adjustment of the threshold ends, too; setting one threshold stops the adjustment of both."""
_USUAL_MAPPINGS = 2**16
_LARGEST_INT = 2**31 - 1
_LARGE = 2**17  # what glibc itself takes for it at first
_open = 0  # how many engines keep freed memory


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, glibc keeps what is freed; on leaving, it is given back. Elsewhere nothing happens.

    Nothing is mapped by itself inside, since a mapping goes back to the system when it is freed: the activations of a
    large model exceed the largest threshold for that.
    """
    global _open
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
    _open += 1
    try:
        yield
    finally:
        _open -= 1
        libc.mallopt(_M_MMAP_MAX, _USUAL_MAPPINGS)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_MMAP_THRESHOLD)
        libc.malloc_trim(0)


@contextmanager
def mapped_apart() -> Iterator[None]:
    """Within `freed_memory_kept`: large tensors for which nothing is free get pages of their own.

    A bank that the heap grew for, amid a pass's memory, would leave holes that fit nothing.
    """
    libc = _glibc()
    if libc is None or not _open:  # elsewhere large tensors have pages of their own
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
    libc.mallopt(_M_MMAP_MAX, _USUAL_MAPPINGS)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_MAX, 0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
