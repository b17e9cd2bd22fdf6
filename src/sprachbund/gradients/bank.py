"""The bank: the test examples' gradients of every parameter."""

import torch
from torch import Tensor

from sprachbund.errors import GradientError
from sprachbund.gradients.buffer import Buffer
from sprachbund.gradients.forms import Form, cheaper_form
from sprachbund.gradients.matrix_banks import DenseBank, FactorBank, WrittenOutBank
from sprachbund.gradients.parameter_bank import ParameterBank, Placement
from sprachbund.gradients.per_example import (
    Consumer,
    DenseGradient,
    OuterGradient,
    PerExampleGradient,
    RowGradient,
    TiedGradient,
)
from sprachbund.gradients.row_banks import RowBank, TiedBank


class Bank:
    """Gradients of test examples for all parameters: `size` rows, each of one of `examples` or the sum of several.

    Matrices that are written out are kept in `dtype`, by default the model's own, in which everything is computed.
    """

    def __init__(
        self, size: int, dtype: torch.dtype | None = None, examples: int | None = None
    ) -> None:
        self.size = size
        self._examples = size if examples is None else examples
        self._dtype = dtype
        self._buffer = Buffer()
        self._parts: dict[str, tuple[type[PerExampleGradient], ParameterBank]] = {}

    def adding(self, placement: Placement, squared_norm_B: Tensor) -> Consumer:
        """What takes in a batch's gradients, and adds their squared norms over all parameters to `squared_norm_B`."""

        def add(name: str, gradient: PerExampleGradient) -> None:
            nonlocal squared_norm_B
            squared_norm_B += self._part(name, gradient).append(placement, gradient)

        return add

    def settle(self) -> None:
        """All test examples are in: bring everything into its final form."""
        for _, part in self._parts.values():
            part.settle()

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept of the test gradients."""
        return sum(part.nbytes for _, part in self._parts.values())

    def contract(self, name: str, gradient: PerExampleGradient) -> tuple[Tensor, Tensor]:
        """For one parameter: inner products [M, B], and the training gradients' squared norms, [B] float64."""
        if name in self._parts:
            return self._part(name, gradient).contract(gradient)
        squared_norm = gradient.squared_norm()  # no test example reaches this parameter
        return squared_norm.new_zeros(self.size, len(squared_norm)), squared_norm

    def _part(self, name: str, gradient: PerExampleGradient) -> ParameterBank:
        if name not in self._parts:
            self._parts[name] = type(gradient), self._new_part(gradient)
        kind, part = self._parts[name]
        if kind is not type(gradient):
            raise GradientError(
                f"{name} is used in one way in some batches and in another in others (as embedding, as head): its "
                "scores cannot be computed. Leave it out with parameters="
            )
        return part

    def _new_part(self, gradient: PerExampleGradient) -> ParameterBank:
        match gradient:
            case OuterGradient():
                form = cheaper_form(gradient.shape, gradient.tokens, self.size, self._examples)
                if form is Form.FACTORS:
                    return FactorBank(self.size)
                dtype = self._dtype or gradient.left_BTO.dtype
                return WrittenOutBank(self.size, dtype, self._buffer)
            case DenseGradient():
                return DenseBank(self.size)
            case RowGradient():
                return RowBank(self.size)
            case TiedGradient():
                return TiedBank(self.size)
