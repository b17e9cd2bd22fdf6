"""A partition of the parameters into named groups: a parameter as a whole, or each row of a table for itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sprachbund.errors import GradientError
from sprachbund.gradients.per_example import (
    DenseGradient,
    OuterGradient,
    PerExampleGradient,
    RowGradient,
    TiedGradient,
)

_NOWHERE = -1
"""As an id and as the padding id: what has it touches no row."""

Rows = Mapping[str, Tensor]
"""For each group that rows of a table belong to, which do: [rows] bool; every row in one group."""


@dataclass(frozen=True)
class Part:
    """What of one parameter belongs to one group: all of it, or the rows where `kept_R` is true."""

    group: int
    kept_R: Tensor | None = None


@dataclass(frozen=True)
class Partition:
    """The groups by name, and the parts of each parameter."""

    groups: tuple[str, ...]
    parts: Mapping[str, tuple[Part, ...]]

    @classmethod
    def of(cls, group_of: Mapping[str, str | Rows]) -> "Partition":
        """From the group of each parameter, or of each of its rows. A group without a row is left out.

        Raises: GradientError if the rows of a table do not each belong to one group.
        """
        names: dict[str, int] = {}
        parts: dict[str, tuple[Part, ...]] = {}
        for parameter, group in group_of.items():
            if isinstance(group, str):
                parts[parameter] = (Part(names.setdefault(group, len(names))),)
                continue
            _check_rows(parameter, group)
            parts[parameter] = tuple(
                Part(names.setdefault(name, len(names)), kept_R)
                for name, kept_R in group.items()
                if bool(kept_R.any())
            )
        return cls(tuple(names), parts)

    def split(
        self, name: str, gradient: PerExampleGradient
    ) -> Iterator[tuple[int, str, PerExampleGradient]]:
        """Yield (group, name of the part, gradient) of the parts of a parameter; they add up to its gradient.

        Raises: GradientError if the parameter belongs to no group.
        """
        if name not in self.parts:
            raise GradientError(f"{name} is attributed, but belongs to no group of the partition")
        for part in self.parts[name]:
            if part.kept_R is None:
                yield part.group, name, gradient
            else:
                yield part.group, f"{name}[{part.group}]", on_rows(gradient, part.kept_R)


def on_rows(gradient: PerExampleGradient, kept_R: Tensor) -> PerExampleGradient:
    """The gradient of a matrix with all rows set to zero but those where `kept_R` is true."""
    match gradient:
        case RowGradient(ids_BT, rows_BTD, table_rows, padding_idx):
            inside_BT = kept_R.to(ids_BT.device)[ids_BT]
            if padding_idx is not None:
                inside_BT &= ids_BT != padding_idx
            ids_BT = torch.where(inside_BT, ids_BT, _NOWHERE)
            return RowGradient(ids_BT, rows_BTD, table_rows, _NOWHERE)
        case OuterGradient(left_BTO, right_BTI):
            return OuterGradient(left_BTO * kept_R.to(left_BTO.device), right_BTI)
        case TiedGradient(rows, outer):
            kept_rows, kept_outer = on_rows(rows, kept_R), on_rows(outer, kept_R)
            assert isinstance(kept_rows, RowGradient)
            assert isinstance(kept_outer, OuterGradient)
            return TiedGradient(kept_rows, kept_outer)
        case DenseGradient(values):
            shape = (1, -1, *[1] * (values.dim() - 2))
            return DenseGradient(values * kept_R.to(values.device).view(shape))


def _check_rows(parameter: str, rows: Rows) -> None:
    counts_R = torch.stack(list(rows.values())).sum(0)
    if bool((counts_R != 1).any()):
        row = int((counts_R != 1).nonzero()[0])
        raise GradientError(
            f"row {row} of {parameter} belongs to {int(counts_R[row])} groups; expected one for each row"
        )
