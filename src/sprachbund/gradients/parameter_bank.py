"""What the bank of one parameter must do, and which rows of the bank a batch of test examples goes to."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sprachbund.gradients.per_example import PerExampleGradient, SparseRows

_TRANSPOSED_AT_ONCE = 2**14
"""Of 32 examples this stays in a core's cache: two thirds of the time of a whole block, and none of its memory."""


@dataclass(frozen=True)
class Each:
    """Every test example is a row of its own, the batch's from row `start` on."""

    start: int

    def add_rows(self, target_MX: Tensor, values_BX: Tensor) -> None:
        target_MX[self.start : self.start + len(values_BX)] = values_BX

    def add_columns(self, target_KM: Tensor, values_BK: Tensor) -> None:
        # Transposed apart: copying straight into strided columns is several times slower.
        columns_KB = target_KM[:, self.start : self.start + len(values_BK)]
        for values_BP, target_PB in zip(
            torch.split(values_BK, _TRANSPOSED_AT_ONCE, dim=1),
            torch.split(columns_KB, _TRANSPOSED_AT_ONCE),
            strict=True,
        ):
            target_PB.copy_(values_BP.T.contiguous())

    def place(self, entries: SparseRows) -> SparseRows:
        return SparseRows(entries.row, entries.example + self.start, entries.values_ED)


@dataclass(frozen=True)
class Means:
    """Each test example adds to one row of the bank, `row_B`, with a weight, `weight_B`."""

    row_B: Tensor
    weight_B: Tensor

    def add_rows(self, target_GX: Tensor, values_BX: Tensor) -> None:
        weight = self.weight_B.to(values_BX).view(-1, *[1] * (values_BX.dim() - 1))
        target_GX.index_add_(0, self.row_B, (values_BX * weight).to(target_GX.dtype))

    def add_columns(self, target_KG: Tensor, values_BK: Tensor) -> None:
        weight_BG = values_BK.new_zeros(len(self.row_B), target_KG.shape[1])
        weight_BG[torch.arange(len(self.row_B)), self.row_B] = self.weight_B.to(values_BK)
        target_KG += values_BK.T @ weight_BG

    def place(self, entries: SparseRows) -> SparseRows:
        weight_E = self.weight_B.to(entries.values_ED)[entries.example]
        return SparseRows(
            entries.row, self.row_B[entries.example], entries.values_ED * weight_E[:, None]
        )


Placement = Each | Means


class ParameterBank(ABC):
    """Gradients of one parameter, `size` rows: one for each test example, or weighted sums of several."""

    def __init__(self, size: int) -> None:
        self.size = size

    @abstractmethod
    def append(self, placement: Placement, gradient: PerExampleGradient) -> Tensor:
        """Add a batch of test gradients; return their squared norms, [B] float64."""

    @abstractmethod
    def contract(self, gradient: PerExampleGradient) -> tuple[Tensor, Tensor]:
        """Inner products with each of a batch's gradients, [M, B], and the batch's squared norms, [B] float64."""

    def settle(self) -> None:  # noqa: B027  (most have nothing to do)
        """Bring what was added into its final form."""

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(tensor.nbytes for tensor in self._kept())

    @abstractmethod
    def _kept(self) -> Iterator[Tensor]: ...
