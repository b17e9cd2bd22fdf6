"""Banks of embedding tables, alone or tied to a linear head: only rows that two examples share count."""

from collections.abc import Iterator

import torch
from torch import Tensor

from sprachbund.gradients.parameter_bank import Means, ParameterBank, Placement
from sprachbund.gradients.per_example import (
    PerExampleGradient,
    RowGradient,
    SparseRows,
    TiedGradient,
)

_PAIRS_AT_ONCE = 64
_ENTRIES_AT_ONCE = 20_000


class RowBank(ParameterBank):
    """Gradients of one embedding table: only rows that both examples touch contribute."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._parts: list[SparseRows] = []
        self._sorted: SparseRows | None = None
        self._waiting = 0

    def append(self, placement: Placement, gradient: PerExampleGradient) -> Tensor:
        assert isinstance(gradient, RowGradient)
        self._parts.append(placement.place(gradient.coalesced))
        self._waiting += len(self._parts[-1].row)
        # Many examples of one mean touch the same rows: added up whenever the entries have doubled, they stay few.
        summed = 0 if self._sorted is None else len(self._sorted.row)
        if isinstance(placement, Means) and self._waiting > max(summed, _ENTRIES_AT_ONCE):
            self._by_row()
        return gradient.squared_norm()

    def settle(self) -> None:
        self._by_row()

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
        self._add_products(scores, batch, spans[pairs > _PAIRS_AT_ONCE])
        rare = (pairs > 0) & (pairs <= _PAIRS_AT_ONCE)
        self._add_pairs(scores, batch, spans[rare])
        return scores, gradient.squared_norm()

    def _add_products(self, scores: Tensor, batch: SparseRows, spans_R4: Tensor) -> None:
        """Rows that equally many examples touch go together, as positions do: one product for all of them."""
        bank = self._by_row()
        kinds, kind_R = spans_R4[:, 1::2].unique(dim=0, return_inverse=True)  # type: ignore[no-untyped-call]
        for number, (bank_count, count) in enumerate(kinds.tolist()):
            rows_at_once = max(1, _ENTRIES_AT_ONCE // (bank_count + count))
            for spans in torch.split(spans_R4[kind_R == number], rows_at_once):
                example_Rm, values_RmD = _entries(bank, spans[:, 0], bank_count)
                example_Rb, values_RbD = _entries(batch, spans[:, 2], count)
                products = torch.bmm(values_RmD, values_RbD.mT)
                if products.shape[1:] == scores.shape:  # all examples touch each, in their order
                    scores += products.sum(0)
                    continue
                pairs = example_Rm[:, :, None], example_Rb[:, None, :]
                scores.index_put_(pairs, products, accumulate=True)

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
        if self._sorted is None or self._parts:
            parts = self._parts if self._sorted is None else [self._sorted, *self._parts]
            self._parts, self._waiting = [], 0
            self._sorted = SparseRows.coalesced(
                torch.cat([part.row for part in parts]),
                torch.cat([part.example for part in parts]),
                torch.cat([part.values_ED for part in parts]),
                self.size,
            )
        return self._sorted

    def _kept(self) -> Iterator[Tensor]:
        yield self._by_row().values_ED


def _entries(rows: SparseRows, first_R: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Of rows with so many entries each: their examples [R, count] and vectors [R, count, D]."""
    start, stop = int(first_R[0]), int(first_R[-1]) + count
    if stop - start == len(first_R) * count:  # one after the other
        shape = len(first_R), count
        return rows.example[start:stop].view(shape), rows.values_ED[start:stop].view(*shape, -1)
    index_Rc = first_R[:, None] + torch.arange(count, device=first_R.device)
    return rows.example[index_Rc], rows.values_ED[index_Rc]


class TiedBank(ParameterBank):
    """Gradients of a table that is embedding and head at once, as they came."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._parts: list[tuple[Placement, TiedGradient]] = []

    def append(self, placement: Placement, gradient: PerExampleGradient) -> Tensor:
        assert isinstance(gradient, TiedGradient)
        self._parts.append((placement, gradient))
        return gradient.squared_norm()

    def contract(self, gradient: PerExampleGradient) -> tuple[Tensor, Tensor]:
        assert isinstance(gradient, TiedGradient)
        scores_MB = gradient.rows.rows_BTD.new_zeros(self.size, gradient.batch_size)
        for placement, part in self._parts:
            placement.add_rows(scores_MB, part.inner(gradient))
        return scores_MB, gradient.squared_norm()

    def _kept(self) -> Iterator[Tensor]:
        for _, part in self._parts:
            yield from (part.rows.rows_BTD, part.outer.left_BTO, part.outer.right_BTI)
