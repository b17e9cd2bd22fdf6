"""One piece of memory for what is written out and read at once, again and again."""

from collections.abc import Iterator

import torch
from torch import Tensor

from sprachbund.gradients.allocator import mapped_apart
from sprachbund.gradients.per_example import OuterGradient
from sprachbund.gradients.products import is_on_intel

# 32 MiB of float32: 32 examples of 256 x 1024, a small model's largest matrix. On AMD half of it makes the products of
# 768 columns and more 3 to 6 percent slower, on Intel those of 1024 columns a sixth faster (docs/performance.md).
_NUMBERS, _NUMBERS_ON_INTEL = 2**23, 2**22
_STRIP = 64
"""Matrix products go by strips of rows: what is left over costs nearly as much as a whole strip."""


class Buffer:
    """Scratch memory: fresh memory for every batch would cost as much as the product that fills it."""

    def __init__(self) -> None:
        self._memory: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def written_out(self, gradient: OuterGradient) -> Iterator[tuple[Tensor, slice]]:
        """Blocks of rows [B, R, I], each valid until the next, and which of a gradient's O*I entries they are."""
        (rows, columns), size = gradient.shape, gradient.batch_size
        step = _rows_at_once(rows, size * columns)
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            out = self._view((size, stop - start, columns), gradient.left_BTO)
            yield gradient.rows(start, stop, out), slice(start * columns, stop * columns)

    def _view(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialised tensor of this shape, of the type and on the device of `like`."""
        numbers = torch.Size(shape).numel()
        kind = like.dtype, like.device
        if kind not in self._memory or self._memory[kind].numel() < numbers:
            with mapped_apart():  # it outlives the passes, whose memory it would else lie amid
                self._memory[kind] = like.new_empty(max(numbers, _room()))
        return self._memory[kind][:numbers].view(shape)


def _rows_at_once(rows: int, numbers_per_row: int) -> int:
    """How many of the rows to write out at a time: all, or whole strips as far as there is room for one."""
    room = max(1, _room() // numbers_per_row)
    if room >= rows or room < _STRIP:
        return room
    return room - room % _STRIP


def _room() -> int:
    return _NUMBERS_ON_INTEL if is_on_intel() else _NUMBERS
