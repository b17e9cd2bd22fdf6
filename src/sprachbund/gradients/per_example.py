"""The shapes that a per-example gradient of one parameter can take.

A linear weight's gradient is a sum of outer products over tokens, an embedding's touches few rows, a weight that is
both has both, anything else is dense. Each knows its squared norm and how to take its weighted sum over examples out
of an array; the bank knows how to contract it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor


def _pad_tokens(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate [B, T, ...] tensors along the tokens."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), dim=1)


def sum_of_squares(values_BOI: Tensor) -> Tensor:
    """Squared Frobenius norm of each example, [B] float64.

    float32 sums over millions of entries lose digits, so rows are summed in the working
    precision and the rows' sums in float64.
    """
    rows_BO: Tensor = torch.linalg.vector_norm(values_BOI, dim=-1)
    return rows_BO.double().square().sum(dim=-1)


@dataclass(frozen=True)
class OuterGradient:
    """Gradient of a matrix: for example n, the sum over tokens t of left[n, t] (outer) right[n, t]."""

    left_BTO: Tensor
    right_BTI: Tensor

    @classmethod
    def merge(cls, calls: Sequence[Self]) -> "OuterGradient":
        """A sum over calls of one module is a sum over all their tokens."""
        return OuterGradient(
            _pad_tokens([call.left_BTO for call in calls]),
            _pad_tokens([call.right_BTI for call in calls]),
        )

    @property
    def batch_size(self) -> int:
        return self.left_BTO.shape[0]

    @property
    def tokens(self) -> int:
        return self.left_BTO.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        return self.left_BTO.shape[2], self.right_BTI.shape[2]

    def rows(self, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """Rows [start, stop) of the gradients themselves, [B, stop - start, I]."""
        left_BOT = self.left_BTO[:, :, start:stop].transpose(1, 2)
        return torch.bmm(left_BOT, self.right_BTI, out=out)

    def squared_norm(self) -> Tensor:
        """[B] float64, by the cheaper of the token Gram matrices and the gradient itself."""
        rows, columns = self.shape
        if self.tokens * (rows + columns) < rows * columns:
            gram_BTT = torch.bmm(self.left_BTO, self.left_BTO.transpose(1, 2))
            gram_BTT *= torch.bmm(self.right_BTI, self.right_BTI.transpose(1, 2))
            return gram_BTT.double().sum(dim=(1, 2)).clamp_min(0.0)
        return sum_of_squares(self.rows(0, rows))

    @property
    def longer_first(self) -> "OuterGradient":
        """The same gradient, transposed if it has more columns than rows."""
        rows, columns = self.shape
        return self if rows >= columns else self.transposed

    @property
    def transposed(self) -> "OuterGradient":
        """The same gradient, its rows as columns."""
        return OuterGradient(self.right_BTI, self.left_BTO)

    def subtract_from(self, total: Tensor, weight_B: Tensor) -> None:
        """Subtract, in place, the sum over examples of weight times gradient from `total` [O, I]."""
        left = (self.left_BTO * weight_B[:, None, None]).flatten(0, 1)
        total.addmm_(left.T, self.right_BTI.flatten(0, 1), alpha=-1.0)


@dataclass(frozen=True)
class RowGradient:
    """Gradient of an embedding table: for example n, row `ids[n, t]` gets `rows[n, t]`, summed."""

    ids_BT: Tensor
    rows_BTD: Tensor
    table_rows: int
    padding_idx: int | None

    @classmethod
    def merge(cls, calls: Sequence[Self]) -> "RowGradient":
        if len({call.padding_idx for call in calls}) > 1:  # tied tables, one with a padding row
            return RowGradient.merge([call.without_padding() for call in calls])
        return RowGradient(
            _pad_tokens([call.ids_BT for call in calls]),
            _pad_tokens([call.rows_BTD for call in calls]),
            calls[0].table_rows,
            calls[0].padding_idx,
        )

    @property
    def batch_size(self) -> int:
        return self.ids_BT.shape[0]

    def without_padding(self) -> "RowGradient":
        """The same gradient, of a table without a padding row."""
        if self.padding_idx is None:
            return self
        is_padding_BT1 = (self.ids_BT == self.padding_idx)[:, :, None]
        rows_BTD = self.rows_BTD.masked_fill(is_padding_BT1, 0.0)
        return RowGradient(self.ids_BT, rows_BTD, self.table_rows, None)

    @cached_property
    def coalesced(self) -> "SparseRows":
        """One entry for each example and row of the table that it touches, sorted by row."""
        batch, tokens = self.ids_BT.shape
        example = torch.arange(batch, device=self.ids_BT.device).repeat_interleave(tokens)
        ids, values = self.ids_BT.flatten(), self.rows_BTD.flatten(0, 1)
        if self.padding_idx is not None:  # autograd gives this row no gradient either
            kept = (ids != self.padding_idx).nonzero().squeeze(1)
            if len(kept) < len(ids):  # choosing all would copy all
                example, ids, values = (
                    each.index_select(0, kept) for each in (example, ids, values)
                )
        return SparseRows.coalesced(ids, example, values, batch)

    def squared_norm(self) -> Tensor:
        return self.coalesced.squared_norm(self.batch_size)

    def subtract_from(self, total: Tensor, weight_B: Tensor) -> None:
        entries = self.coalesced
        weight_E = weight_B[entries.example]
        total.index_add_(0, entries.row, entries.values_ED * weight_E[:, None], alpha=-1.0)


@dataclass(frozen=True)
class SparseRows:
    """Entries (row of the table, example, vector), sorted by row, each pair once."""

    row: Tensor
    example: Tensor
    values_ED: Tensor

    @classmethod
    def coalesced(
        cls, row: Tensor, example: Tensor, values_ED: Tensor, examples: int
    ) -> "SparseRows":
        """Entries in any order, with repetitions that add up, of examples [0, `examples`)."""
        keys, entry = torch.unique(row * examples + example, return_inverse=True)
        summed = values_ED.new_zeros(len(keys), values_ED.shape[1]).index_add_(0, entry, values_ED)
        return cls(keys // examples, keys % examples, summed)

    def squared_norm(self, batch_size: int) -> Tensor:
        """[batch_size] float64."""
        norms_E: Tensor = torch.linalg.vector_norm(self.values_ED, dim=1)
        squares_E = norms_E.double().square()
        return squares_E.new_zeros(batch_size).index_add_(0, self.example, squares_E)


@dataclass(frozen=True)
class DenseGradient:
    """Gradient of a small or irregular parameter, written out: [B, *shape]."""

    values: Tensor

    @classmethod
    def merge(cls, calls: Sequence[Self]) -> "DenseGradient":
        return DenseGradient(torch.stack([call.values for call in calls]).sum(0))

    @property
    def batch_size(self) -> int:
        return self.values.shape[0]

    @property
    def longer_first(self) -> "DenseGradient":
        """The same gradient, a matrix transposed if it has more columns than rows."""
        _, *shape = self.values.shape
        wide = len(shape) == 2 and shape[0] < shape[1]
        return DenseGradient(self.values.mT) if wide else self

    def flat(self) -> Tensor:
        """[B, P]; of a parameter that is one number, P is 1."""
        return self.values.reshape(self.batch_size, -1)

    def squared_norm(self) -> Tensor:
        """[B] float64."""
        rows = self.values.flatten(1, -2) if self.values.dim() > 2 else self.flat().unsqueeze(1)
        return sum_of_squares(rows)

    def subtract_from(self, total: Tensor, weight_B: Tensor) -> None:
        total -= torch.tensordot(weight_B, self.values.to(weight_B.dtype), dims=1)


@dataclass(frozen=True)
class TiedGradient:
    """Gradient of a table that serves as embedding and as linear head: rows plus outer products.

    Rows are outer products with a one-hot left factor, so inner products are Gram products over tokens in which a
    one-hot factor turns into a comparison of ids, or a lookup; nothing of the size of the table is built.
    """

    rows: RowGradient
    outer: OuterGradient

    @property
    def batch_size(self) -> int:
        return self.rows.batch_size

    def inner(self, other: "TiedGradient") -> Tensor:
        """Inner products of every example here with every one of `other`, [B, B']; all four cross terms."""
        here, there = self.rows, other.rows
        products = _sum_tokens(_same_row(here, there), here.rows_BTD, there.rows_BTD)
        products += _sum_tokens(
            self.outer.left_BTO.flatten(0, 1) @ other.outer.left_BTO.flatten(0, 1).T,
            self.outer.right_BTI,
            other.outer.right_BTI,
        )
        products += _sum_tokens(_looked_up(there, self.outer), self.outer.right_BTI, there.rows_BTD)
        products += _sum_tokens(
            _looked_up(here, other.outer).T, here.rows_BTD, other.outer.right_BTI
        )
        return products

    def squared_norm(self) -> Tensor:
        """[B] float64."""
        alone = (self.example(position) for position in range(self.batch_size))
        return torch.stack([one.inner(one)[0, 0].double() for one in alone]).clamp_min(0.0)

    def example(self, position: int) -> "TiedGradient":
        rows, outer, at = self.rows, self.outer, slice(position, position + 1)
        return TiedGradient(
            RowGradient(rows.ids_BT[at], rows.rows_BTD[at], rows.table_rows, rows.padding_idx),
            OuterGradient(outer.left_BTO[at], outer.right_BTI[at]),
        )

    def subtract_from(self, total: Tensor, weight_B: Tensor) -> None:
        self.rows.subtract_from(total, weight_B)
        self.outer.subtract_from(total, weight_B)


def _same_row(here: RowGradient, there: RowGradient) -> Tensor:
    """1 where two tokens touch the same row of the table, [B*T, B'*T']."""
    same = here.ids_BT.flatten()[:, None] == there.ids_BT.flatten()[None, :]
    for padding_idx in {here.padding_idx, there.padding_idx} - {None}:
        same &= there.ids_BT.flatten() != padding_idx
    return same.to(here.rows_BTD.dtype)


def _looked_up(rows: RowGradient, outer: OuterGradient) -> Tensor:
    """The outer products' left factor at the rows' ids, [B*T of outer, B'*T' of rows]."""
    values = outer.left_BTO.flatten(0, 1)[:, rows.ids_BT.flatten()]
    if rows.padding_idx is not None:
        values = values * (rows.ids_BT.flatten() != rows.padding_idx)
    return values


def _sum_tokens(left_gram: Tensor, right_BTI: Tensor, other_right_BTI: Tensor) -> Tensor:
    """Sum over both examples' tokens of the product of the Gram matrices of both factors, [B, B']."""
    gram = left_gram * (right_BTI.flatten(0, 1) @ other_right_BTI.flatten(0, 1).T)
    shape = (*right_BTI.shape[:2], *other_right_BTI.shape[:2])
    return gram.view(shape).sum(dim=(1, 3))


PerExampleGradient = OuterGradient | RowGradient | DenseGradient | TiedGradient

Consumer = Callable[[str, PerExampleGradient], None]
"""Takes in the gradients of one parameter, by its name."""


def merge(calls: Sequence[PerExampleGradient]) -> PerExampleGradient:
    """Add up the contributions of several calls of the modules that hold one parameter."""
    if len(calls) == 1:
        return calls[0]
    rows = [call for call in calls if isinstance(call, RowGradient)]
    outer = [call for call in calls if isinstance(call, OuterGradient)]
    if rows and outer:
        return TiedGradient(RowGradient.merge(rows), OuterGradient.merge(outer))
    return type(calls[0]).merge(calls)  # type: ignore[union-attr,arg-type]
