"""The bank of one parameter: test gradients laid out to be contracted with training gradients.

A test batch may not reach a parameter (an expert that no token chose): its gradient is zero there, so every part of a
bank carries the position of its first test example.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from sprachbund.gradients.buffer import Buffer
from sprachbund.gradients.per_example import (
    DenseGradient,
    OuterGradient,
    PerExampleGradient,
    RowGradient,
    SparseRows,
    TiedGradient,
    sum_of_squares,
)

_PAIRS_AT_ONCE = 64


class ParameterBank(ABC):
    """Gradients of `size` test examples for one parameter."""

    def __init__(self, size: int) -> None:
        self.size = size

    @abstractmethod
    def append(self, start: int, gradient: PerExampleGradient) -> Tensor:
        """Add the gradients of the test examples from position `start` on; return their squared norms, [B] float64."""

    @abstractmethod
    def contract(self, gradient: PerExampleGradient) -> tuple[Tensor, Tensor]:
        """Inner products with each of a batch's gradients, [M, B], and the batch's squared norms, [B] float64."""

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(tensor.nbytes for tensor in self._kept())

    @abstractmethod
    def _kept(self) -> Iterator[Tensor]: ...


class FactorBank(ParameterBank):
    """A matrix's gradients as token factors, contracted through Gram matrices over tokens."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._parts: list[tuple[int, OuterGradient]] = []

    def append(self, start: int, gradient: PerExampleGradient) -> Tensor:
        assert isinstance(gradient, OuterGradient)
        self._parts.append((start, gradient))
        return gradient.squared_norm()

    def contract(self, gradient: PerExampleGradient) -> tuple[Tensor, Tensor]:
        assert isinstance(gradient, OuterGradient)
        batch, tokens = gradient.batch_size, gradient.tokens
        left, right = gradient.left_BTO.flatten(0, 1), gradient.right_BTI.flatten(0, 1)
        scores = left.new_zeros(self.size, batch)
        for start, part in self._parts:
            gram = part.left_BTO.flatten(0, 1) @ left.T
            gram *= part.right_BTI.flatten(0, 1) @ right.T
            blocks = gram.view(part.batch_size, part.tokens, batch, tokens)
            scores[start : start + part.batch_size] = blocks.sum(dim=(1, 3))
        return scores, gradient.squared_norm()

    def _kept(self) -> Iterator[Tensor]:
        return (kept for _, part in self._parts for kept in (part.left_BTO, part.right_BTI))


class WrittenOutBank(ParameterBank):
    """A matrix's gradients written out, [O*I, M]: with the long axis first, the skinny product is twice as fast.

    The training gradients are written out block by block of rows into one buffer, used again and again: fresh memory
    for every batch would cost as much as the product that fills it.
    """

    def __init__(self, size: int, dtype: torch.dtype, buffer: Buffer) -> None:
        super().__init__(size)
        self._dtype, self._buffer = dtype, buffer
        self._matrix_KM: Tensor | None = None

    def append(self, start: int, gradient: PerExampleGradient) -> Tensor:
        assert isinstance(gradient, OuterGradient)
        matrix = self._matrix(gradient)
        squared_norm = torch.zeros(gradient.batch_size, dtype=torch.float64, device=matrix.device)
        for first, block_BRI in self._blocks(gradient):
            flat_BK = block_BRI.flatten(1)
            rows = slice(first * block_BRI.shape[2], first * block_BRI.shape[2] + flat_BK.shape[1])
            matrix[rows, start : start + gradient.batch_size] = flat_BK.T.contiguous()
            squared_norm += sum_of_squares(block_BRI)
        return squared_norm

    def contract(self, gradient: PerExampleGradient) -> tuple[Tensor, Tensor]:
        assert isinstance(gradient, OuterGradient)
        matrix = self._matrix(gradient)
        scores_BM = gradient.left_BTO.new_zeros(gradient.batch_size, self.size)
        squared_norm = scores_BM.new_zeros(gradient.batch_size, dtype=torch.float64)
        for first, block_BRI in self._blocks(gradient):
            flat_BK = block_BRI.flatten(1)
            rows = slice(first * block_BRI.shape[2], first * block_BRI.shape[2] + flat_BK.shape[1])
            scores_BM.addmm_(flat_BK, matrix[rows].to(flat_BK.dtype))
            squared_norm += sum_of_squares(block_BRI)
        return scores_BM.T, squared_norm

    def _blocks(self, gradient: OuterGradient) -> Iterator[tuple[int, Tensor]]:
        """(first row, rows of the gradients in the buffer), the longer axis cut into rows."""
        gradient = gradient.longer_first
        rows, columns = gradient.shape
        step = self._buffer.rows_at_once(gradient.batch_size * columns)
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            shape = gradient.batch_size, stop - start, columns
            yield start, gradient.rows(start, stop, out=self._buffer.view(shape, gradient.left_BTO))

    def _matrix(self, gradient: OuterGradient) -> Tensor:
        if self._matrix_KM is None:
            rows, columns = gradient.shape
            shape = rows * columns, self.size
            self._matrix_KM = gradient.left_BTO.new_zeros(shape, dtype=self._dtype)
        return self._matrix_KM

    def _kept(self) -> Iterator[Tensor]:
        if self._matrix_KM is not None:
            yield self._matrix_KM


class DenseBank(ParameterBank):
    """Gradients of a small or irregular parameter, [P, M]."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._matrix_PM: Tensor | None = None

    def append(self, start: int, gradient: PerExampleGradient) -> Tensor:
        assert isinstance(gradient, DenseGradient)
        flat_BP = gradient.flat()
        if self._matrix_PM is None:
            self._matrix_PM = flat_BP.new_zeros(flat_BP.shape[1], self.size)
        self._matrix_PM[:, start : start + gradient.batch_size] = flat_BP.T
        return gradient.squared_norm()

    def contract(self, gradient: PerExampleGradient) -> tuple[Tensor, Tensor]:
        assert isinstance(gradient, DenseGradient)
        assert self._matrix_PM is not None
        return (gradient.flat() @ self._matrix_PM).T, gradient.squared_norm()

    def _kept(self) -> Iterator[Tensor]:
        if self._matrix_PM is not None:
            yield self._matrix_PM


class RowBank(ParameterBank):
    """Gradients of one embedding table: only rows that both examples touch contribute."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._parts: list[SparseRows] = []
        self._sorted: SparseRows | None = None

    def append(self, start: int, gradient: PerExampleGradient) -> Tensor:
        assert isinstance(gradient, RowGradient)
        entries = gradient.coalesced
        self._parts.append(SparseRows(entries.row, entries.example + start, entries.values_ED))
        return gradient.squared_norm()

    def contract(self, gradient: PerExampleGradient) -> tuple[Tensor, Tensor]:
        """Frequent rows by a small product each, rare ones pair by pair and all at once."""
        assert isinstance(gradient, RowGradient)
        bank, batch = self._by_row(), gradient.coalesced
        scores = batch.values_ED.new_zeros(self.size, gradient.batch_size)
        rows, count = torch.unique_consecutive(batch.row, return_counts=True)
        first = count.cumsum(0) - count
        bank_first = torch.searchsorted(bank.row, rows)
        bank_count = torch.searchsorted(bank.row, rows, right=True) - bank_first
        pairs = count * bank_count
        spans = torch.stack([bank_first, bank_count, first, count], dim=1)
        for start, length, here, entries in spans[pairs > _PAIRS_AT_ONCE].tolist():
            bank_span, span = slice(start, start + length), slice(here, here + entries)
            products = bank.values_ED[bank_span] @ batch.values_ED[span].T
            scores[bank.example[bank_span, None], batch.example[None, span]] += products
        rare = (pairs > 0) & (pairs <= _PAIRS_AT_ONCE)
        self._add_pairs(scores, batch, spans[rare])
        return scores, gradient.squared_norm()

    def _add_pairs(self, scores: Tensor, batch: SparseRows, spans_R4: Tensor) -> None:
        bank = self._by_row()
        bank_first, bank_count, first, count = spans_R4.unbind(1)
        pairs = bank_count * count
        span = torch.repeat_interleave(pairs)
        within = torch.arange(len(span), device=span.device) - (pairs.cumsum(0) - pairs)[span]
        there = bank_first[span] + within // count[span]
        here = first[span] + within % count[span]
        products = (bank.values_ED[there] * batch.values_ED[here]).sum(1)
        scores.index_put_((bank.example[there], batch.example[here]), products, accumulate=True)

    def _by_row(self) -> SparseRows:
        if self._sorted is None:
            row = torch.cat([part.row for part in self._parts])
            order = torch.argsort(row, stable=True)
            example = torch.cat([part.example for part in self._parts])[order]
            values_ED = torch.cat([part.values_ED for part in self._parts])[order]
            self._sorted, self._parts = SparseRows(row[order], example, values_ED), []
        return self._sorted

    def _kept(self) -> Iterator[Tensor]:
        yield self._by_row().values_ED


class TiedBank(ParameterBank):
    """Gradients of a table that is embedding and head at once, as they came."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._parts: list[tuple[int, TiedGradient]] = []

    def append(self, start: int, gradient: PerExampleGradient) -> Tensor:
        assert isinstance(gradient, TiedGradient)
        self._parts.append((start, gradient))
        return gradient.squared_norm()

    def contract(self, gradient: PerExampleGradient) -> tuple[Tensor, Tensor]:
        assert isinstance(gradient, TiedGradient)
        scores = gradient.rows.rows_BTD.new_zeros(self.size, gradient.batch_size)
        for start, part in self._parts:
            scores[start : start + part.batch_size] = part.inner(gradient)
        return scores, gradient.squared_norm()

    def _kept(self) -> Iterator[Tensor]:
        for _, part in self._parts:
            yield from (part.rows.rows_BTD, part.outer.left_BTO, part.outer.right_BTI)
