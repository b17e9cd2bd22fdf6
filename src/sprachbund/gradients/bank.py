"""The bank: the test examples' gradients of every parameter, laid out to be contracted with training gradients.

A parameter that a test batch does not reach (an expert that no token chose) has zero gradient there, so every part
carries the position of its first test example.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from sprachbund.gradients.per_example import (
    DenseGradient,
    OuterGradient,
    PerExampleGradient,
    RowGradient,
    SparseRows,
)

# Seconds for each unit of work on one CPU thread, measured: the GEMM that materialises, writing and
# reading an entry, the skinny score GEMM; a Gram entry's GEMM and its element-wise product.
_SECONDS_MATERIALISE_FLOP = 1 / 105e9
_SECONDS_ENTRY = 0.5e-9
_SECONDS_SCORE_ENTRY = 0.045e-9
_SECONDS_GRAM_FLOP = 1 / 110e9
_SECONDS_GRAM_ENTRY = 1e-9


class OuterBank:
    """Gradients of one matrix, kept as token factors.

    Scores come from the Gram matrices over tokens (short texts) or from the materialised gradients, one GEMM with an
    [O*I, M] matrix (long texts), whichever the measured costs favour for the batch at hand.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[int, OuterGradient]] = []
        self._matrix_KM: Tensor | None = None

    def append(self, start: int, gradient: OuterGradient) -> None:
        self._parts.append((start, gradient))

    def dot(self, gradient: OuterGradient, size: int) -> Tensor:
        """Inner products of the bank's `size` gradients with each of the batch's, [M, B]."""
        if self._ghost_seconds(gradient.tokens) < self._materialised_seconds(gradient, size):
            return self._ghost(gradient, size)
        flat_BK = gradient.matrix_BOI.flatten(1)
        return (flat_BK @ self._materialised(size)).T

    def _ghost_seconds(self, tokens: int) -> float:
        rows, columns = self._parts[0][1].shape
        entries = sum(part.batch_size * part.tokens for _, part in self._parts) * tokens
        return entries * (2 * (rows + columns) * _SECONDS_GRAM_FLOP + _SECONDS_GRAM_ENTRY)

    def _materialised_seconds(self, gradient: OuterGradient, size: int) -> float:
        rows, columns = gradient.shape
        entry = 2 * gradient.tokens * _SECONDS_MATERIALISE_FLOP + _SECONDS_ENTRY
        return rows * columns * (entry + size * _SECONDS_SCORE_ENTRY)

    def _ghost(self, gradient: OuterGradient, size: int) -> Tensor:
        batch, tokens = gradient.batch_size, gradient.tokens
        left, right = gradient.left_BTO.flatten(0, 1), gradient.right_BTI.flatten(0, 1)
        scores = left.new_zeros(size, batch)
        for start, part in self._parts:
            gram = part.left_BTO.flatten(0, 1) @ left.T
            gram *= part.right_BTI.flatten(0, 1) @ right.T
            blocks = gram.view(part.batch_size, part.tokens, batch, tokens)
            scores[start : start + part.batch_size] = blocks.sum(dim=(1, 3))
        return scores

    def _materialised(self, size: int) -> Tensor:
        """[O*I, M]: with the long axis first, the skinny GEMM runs more than twice as fast."""
        if self._matrix_KM is None:
            _, first = self._parts[0]
            rows, columns = first.shape
            matrix_MK = first.left_BTO.new_zeros(size, rows * columns)
            for start, part in self._parts:
                torch.bmm(
                    part.left_BTO.transpose(1, 2),
                    part.right_BTI,
                    out=matrix_MK[start : start + part.batch_size].view(-1, rows, columns),
                )
            self._matrix_KM = matrix_MK.T.contiguous()
        return self._matrix_KM


class RowBank:
    """Gradients of one embedding table: only rows that both examples touch contribute."""

    def __init__(self) -> None:
        self._parts: list[SparseRows] = []
        self._sorted: tuple[SparseRows, dict[int, slice]] | None = None

    def append(self, start: int, gradient: RowGradient) -> None:
        entries = gradient.coalesced
        shifted = SparseRows(entries.row, entries.example + start, entries.values_ED)
        self._parts.append(shifted)

    def dot(self, gradient: RowGradient, size: int) -> Tensor:
        """[M, B], one small GEMM for each row of the table that bank and batch share."""
        bank, bank_segments = self._segments()
        entries = gradient.coalesced
        scores = entries.values_ED.new_zeros(size, gradient.batch_size)
        for row, here in _row_segments(entries.row).items():
            there = bank_segments.get(row)
            if there is not None:
                products = bank.values_ED[there] @ entries.values_ED[here].T
                scores[bank.example[there][:, None], entries.example[here][None, :]] += products
        return scores

    def _segments(self) -> tuple[SparseRows, dict[int, slice]]:
        if self._sorted is None:
            row = torch.cat([part.row for part in self._parts])
            order = torch.argsort(row, stable=True)
            example = torch.cat([part.example for part in self._parts])[order]
            values_ED = torch.cat([part.values_ED for part in self._parts])[order]
            bank = SparseRows(row[order], example, values_ED)
            self._sorted = bank, _row_segments(bank.row)
        return self._sorted


def _row_segments(sorted_rows: Tensor) -> dict[int, slice]:
    """Where each distinct value stands in a sorted vector."""
    rows, counts = torch.unique_consecutive(sorted_rows, return_counts=True)
    stops = counts.cumsum(0).tolist()
    starts = [0, *stops[:-1]]
    return {
        row: slice(start, stop)
        for row, start, stop in zip(rows.tolist(), starts, stops, strict=True)
    }


class DenseBank:
    """Gradients of a small or irregular parameter, one [P, M] matrix."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, Tensor]] = []
        self._matrix_PM: Tensor | None = None

    def append(self, start: int, gradient: DenseGradient) -> None:
        self._parts.append((start, gradient.flat()))

    def dot(self, gradient: DenseGradient, size: int) -> Tensor:
        """[M, B]."""
        flat_BP = gradient.flat()
        if self._matrix_PM is None:
            matrix_MP = flat_BP.new_zeros(size, flat_BP.shape[1])
            for start, part in self._parts:
                matrix_MP[start : start + part.shape[0]] = part
            self._matrix_PM = matrix_MP.T.contiguous()
        return (flat_BP @ self._matrix_PM).T


class Bank:
    """Gradients of M test examples for all parameters, with their norms."""

    def __init__(self) -> None:
        self._outer: dict[str, OuterBank] = {}
        self._row: dict[str, RowBank] = {}
        self._dense: dict[str, DenseBank] = {}
        self._squared_norms: list[Tensor] = []
        self.size = 0

    def append(self, gradients: Mapping[str, PerExampleGradient], size: int) -> None:
        """Add one batch of `size` test examples; parameters it does not reach are left out."""
        squared_norm = torch.zeros(size, dtype=torch.float64)
        for name, gradient in gradients.items():
            squared_norm += gradient.squared_norm().cpu()
            match gradient:
                case OuterGradient():
                    factors = OuterGradient(gradient.left_BTO, gradient.right_BTI)
                    self._outer.setdefault(name, OuterBank()).append(self.size, factors)
                case RowGradient():
                    self._row.setdefault(name, RowBank()).append(self.size, gradient)
                case DenseGradient():
                    self._dense.setdefault(name, DenseBank()).append(self.size, gradient)
        self._squared_norms.append(squared_norm)
        self.size += size

    def norms(self) -> Tensor:
        """Gradient norm of each test example over all parameters, [M] float64."""
        return torch.cat(self._squared_norms).sqrt()

    def dot(self, name: str, gradient: PerExampleGradient) -> Tensor | None:
        """Inner products for one parameter, [M, B]; None where no test example reaches it."""
        match gradient:
            case OuterGradient() if name in self._outer:
                return self._outer[name].dot(gradient, self.size)
            case RowGradient() if name in self._row:
                return self._row[name].dot(gradient, self.size)
            case DenseGradient() if name in self._dense:
                return self._dense[name].dot(gradient, self.size)
        return None
