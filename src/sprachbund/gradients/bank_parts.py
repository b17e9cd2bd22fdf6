"""The bank of one parameter: test gradients laid out to be contracted with training gradients.

A test batch may not reach a parameter (an expert that no token chose): its gradient is zero there, so every part of a
bank carries the position of its first test example.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from sprachbund.gradients.per_example import (
    DenseGradient,
    OuterGradient,
    PerExampleGradient,
    RowGradient,
    SparseRows,
    TiedGradient,
)

_WIDENED_NUMBERS = 4_000_000  # of a half-precision bank at a time
_PAIRS_AT_ONCE = 64


class ParameterBank(ABC):
    """Gradients of `size` test examples for one parameter."""

    def __init__(self, size: int) -> None:
        self.size = size

    @abstractmethod
    def append(self, start: int, gradient: PerExampleGradient) -> None:
        """Add the gradients of the test examples from position `start` on."""

    @abstractmethod
    def dot(self, gradient: PerExampleGradient) -> Tensor:
        """Inner products with each of a batch's gradients, [M, B]."""


class FactorBank(ParameterBank):
    """A matrix's gradients as token factors, contracted through Gram matrices over tokens."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._parts: list[tuple[int, OuterGradient]] = []

    def append(self, start: int, gradient: PerExampleGradient) -> None:
        assert isinstance(gradient, OuterGradient)
        self._parts.append((start, OuterGradient(gradient.left_BTO, gradient.right_BTI)))

    def dot(self, gradient: PerExampleGradient) -> Tensor:
        assert isinstance(gradient, OuterGradient)
        batch, tokens = gradient.batch_size, gradient.tokens
        left, right = gradient.left_BTO.flatten(0, 1), gradient.right_BTI.flatten(0, 1)
        scores = left.new_zeros(self.size, batch)
        for start, part in self._parts:
            gram = part.left_BTO.flatten(0, 1) @ left.T
            gram *= part.right_BTI.flatten(0, 1) @ right.T
            blocks = gram.view(part.batch_size, part.tokens, batch, tokens)
            scores[start : start + part.batch_size] = blocks.sum(dim=(1, 3))
        return scores


class MatrixBank(ParameterBank):
    """Gradients written out, [P, M]: with the long axis first, the skinny product runs more than twice as fast."""

    def __init__(self, size: int, dtype: torch.dtype | None = None) -> None:
        super().__init__(size)
        self._dtype = dtype
        self._parts: list[tuple[int, Tensor]] = []
        self._matrix_PM: Tensor | None = None

    def append(self, start: int, gradient: PerExampleGradient) -> None:
        flat_BP = _written_out(gradient)
        self._parts.append((start, flat_BP.to(self._dtype or flat_BP.dtype).T.contiguous()))

    def dot(self, gradient: PerExampleGradient) -> Tensor:
        flat_BP, matrix_PM = _written_out(gradient), self._matrix()
        if matrix_PM.dtype == flat_BP.dtype:
            return (flat_BP @ matrix_PM).T
        scores_BM = flat_BP.new_zeros(flat_BP.shape[0], self.size)
        step = max(1, _WIDENED_NUMBERS // self.size)
        for start in range(0, flat_BP.shape[1], step):
            block = matrix_PM[start : start + step].to(flat_BP.dtype)
            scores_BM.addmm_(flat_BP[:, start : start + step], block)
        return scores_BM.T

    def _matrix(self) -> Tensor:
        if self._matrix_PM is None:
            parts, self._parts = self._parts, []
            if len(parts) == 1 and parts[0][1].shape[1] == self.size:
                self._matrix_PM = parts[0][1]
            else:
                self._matrix_PM = parts[0][1].new_zeros(parts[0][1].shape[0], self.size)
                for start, part in parts:
                    self._matrix_PM[:, start : start + part.shape[1]] = part
        return self._matrix_PM


def _written_out(gradient: PerExampleGradient) -> Tensor:
    assert isinstance(gradient, OuterGradient | DenseGradient)
    return (
        gradient.flat() if isinstance(gradient, DenseGradient) else gradient.matrix_BOI.flatten(1)
    )


class RowBank(ParameterBank):
    """Gradients of one embedding table: only rows that both examples touch contribute."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._parts: list[SparseRows] = []
        self._sorted: SparseRows | None = None

    def append(self, start: int, gradient: PerExampleGradient) -> None:
        assert isinstance(gradient, RowGradient)
        entries = gradient.coalesced
        self._parts.append(SparseRows(entries.row, entries.example + start, entries.values_ED))

    def dot(self, gradient: PerExampleGradient) -> Tensor:
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
        return scores

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


class TiedBank(ParameterBank):
    """Gradients of a table that is embedding and head at once, as they came."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._parts: list[tuple[int, TiedGradient]] = []

    def append(self, start: int, gradient: PerExampleGradient) -> None:
        assert isinstance(gradient, TiedGradient)
        self._parts.append((start, gradient))

    def dot(self, gradient: PerExampleGradient) -> Tensor:
        assert isinstance(gradient, TiedGradient)
        scores = gradient.rows.rows_BTD.new_zeros(self.size, gradient.batch_size)
        for start, part in self._parts:
            scores[start : start + part.batch_size] = part.inner(gradient)
        return scores
