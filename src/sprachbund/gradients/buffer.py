"""One piece of memory for what is written out and read at once, again and again."""

import torch
from torch import Tensor

# About half of the last-level cache of a current CPU; fewer numbers make the matrix products too small.
_NUMBERS = 4_000_000


class Buffer:
    """Scratch memory. A view is valid until the next one is asked for."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    @staticmethod
    def rows_at_once(numbers_per_row: int) -> int:
        """How many rows of so many numbers to write out at a time."""
        return max(1, _NUMBERS // numbers_per_row)

    def view(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialised tensor of this shape, of the type and on the device of `like`."""
        numbers = torch.Size(shape).numel()
        memory = self._memory
        if memory.numel() < numbers or (memory.dtype, memory.device) != (like.dtype, like.device):
            self._memory = memory = like.new_empty(numbers)
        return memory[:numbers].view(shape)
