"""Banks of matrices, as token factors or written out, and of small dense parameters."""

from collections.abc import Iterator

import torch
from torch import Tensor

from sprachbund.gradients.allocator import mapped_apart
from sprachbund.gradients.buffer import Buffer
from sprachbund.gradients.parameter_bank import ParameterBank, Placement
from sprachbund.gradients.per_example import (
    DenseGradient,
    OuterGradient,
    PerExampleGradient,
    sum_of_squares,
)
from sprachbund.gradients.products import add_product, padded_columns, product

# Of rows up to so wide the buffer holds 128 for 32 examples.
_WIDEST = 2048
_LONG = 2**16
"""Parameters of so many numbers and more, experts for instance, are worth what oneDNN sets up for their shape."""


class FactorBank(ParameterBank):
    """A matrix's gradients as token factors, contracted through Gram matrices over tokens."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._parts: list[tuple[Placement, OuterGradient]] = []

    def append(self, placement: Placement, gradient: PerExampleGradient) -> Tensor:
        assert isinstance(gradient, OuterGradient)
        self._parts.append((placement, gradient))
        return gradient.squared_norm()

    def contract(self, gradient: PerExampleGradient) -> tuple[Tensor, Tensor]:
        assert isinstance(gradient, OuterGradient)
        batch, tokens = gradient.batch_size, gradient.tokens
        left, right = gradient.left_BTO.flatten(0, 1), gradient.right_BTI.flatten(0, 1)
        scores_MB = left.new_zeros(self.size, batch)
        for placement, part in self._parts:
            gram = part.left_BTO.flatten(0, 1) @ left.T
            gram *= part.right_BTI.flatten(0, 1) @ right.T
            blocks = gram.view(part.batch_size, part.tokens, batch, tokens)
            placement.add_rows(scores_MB, blocks.sum(dim=(1, 3)))
        return scores_MB, gradient.squared_norm()

    def _kept(self) -> Iterator[Tensor]:
        return (kept for _, part in self._parts for kept in (part.left_BTO, part.right_BTI))


class WrittenOutBank(ParameterBank):
    """A matrix's gradients written out, [O*I, M]: the skinny product is twice as fast as with [M, O*I].

    M is rounded up to whole vectors; the columns beyond `size` stay zero.

    The training gradients are written out block by block of rows into one buffer, used again and again.
    """

    def __init__(self, size: int, dtype: torch.dtype, buffer: Buffer) -> None:
        super().__init__(size)
        self._dtype, self._buffer = dtype, buffer
        self._matrix_KM: Tensor | None = None

    def append(self, placement: Placement, gradient: PerExampleGradient) -> Tensor:
        assert isinstance(gradient, OuterGradient)
        matrix_KM = self._matrix(gradient)
        squared_norm_B = torch.zeros(
            gradient.batch_size, dtype=torch.float64, device=matrix_KM.device
        )
        for block_BRI, span in self._buffer.written_out(_wide(gradient)):
            placement.add_columns(matrix_KM[span], block_BRI.flatten(1))
            squared_norm_B += sum_of_squares(block_BRI)
        return squared_norm_B

    def contract(self, gradient: PerExampleGradient) -> tuple[Tensor, Tensor]:
        assert isinstance(gradient, OuterGradient)
        matrix_KM = self._matrix(gradient)
        scores_BM = gradient.left_BTO.new_zeros(gradient.batch_size, matrix_KM.shape[1])
        squared_norm_B = scores_BM.new_zeros(gradient.batch_size, dtype=torch.float64)
        for block_BRI, span in self._buffer.written_out(_wide(gradient)):
            flat_BK = block_BRI.flatten(1)
            add_product(scores_BM, flat_BK, matrix_KM[span].to(flat_BK.dtype))
            squared_norm_B += sum_of_squares(block_BRI)
        return scores_BM[:, : self.size].T, squared_norm_B

    def _matrix(self, gradient: OuterGradient) -> Tensor:
        if self._matrix_KM is None:
            rows, columns = gradient.shape
            shape = rows * columns, padded_columns(self.size)
            with mapped_apart():
                self._matrix_KM = gradient.left_BTO.new_zeros(shape, dtype=self._dtype)
        return self._matrix_KM

    def _kept(self) -> Iterator[Tensor]:
        if self._matrix_KM is not None:
            yield self._matrix_KM


def _wide(gradient: OuterGradient) -> OuterGradient:
    """The gradient or its transpose, which a product writes faster in few wide rows, if enough of them fit at once.

    256 rows of 1024 numbers take 0.89 to 0.91 of the time of 1024 rows of 256; 40 rows of 3072 took 1.29.
    """
    longer_first = gradient.longer_first
    return longer_first.transposed if longer_first.shape[0] <= _WIDEST else longer_first


class DenseBank(ParameterBank):
    """Gradients of a small or irregular parameter, [P, M]."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._matrix_PM: Tensor | None = None

    def append(self, placement: Placement, gradient: PerExampleGradient) -> Tensor:
        assert isinstance(gradient, DenseGradient)
        flat_BP = gradient.flat()
        if self._matrix_PM is None:
            self._matrix_PM = flat_BP.new_zeros(flat_BP.shape[1], self.size)
        placement.add_columns(self._matrix_PM, flat_BP)
        return gradient.squared_norm()

    def contract(self, gradient: PerExampleGradient) -> tuple[Tensor, Tensor]:
        assert isinstance(gradient, DenseGradient)
        assert self._matrix_PM is not None
        flat_BP = gradient.flat()
        suits = flat_BP.shape[1] >= _LONG
        products = product(flat_BP, self._matrix_PM) if suits else flat_BP @ self._matrix_PM
        return products.T, gradient.squared_norm()

    def _kept(self) -> Iterator[Tensor]:
        if self._matrix_PM is not None:
            yield self._matrix_PM
