"""The bank: the test examples' gradients of every parameter."""

import torch
from torch import Tensor

from sprachbund.errors import GradientError
from sprachbund.gradients.bank_parts import (
    DenseBank,
    FactorBank,
    ParameterBank,
    RowBank,
    TiedBank,
    WrittenOutBank,
)
from sprachbund.gradients.buffer import Buffer
from sprachbund.gradients.forms import Form, cheaper_form
from sprachbund.gradients.per_example import (
    DenseGradient,
    OuterGradient,
    PerExampleGradient,
    RowGradient,
    TiedGradient,
)


class Bank:
    """Gradients of `size` test examples for all parameters, with their norms.

    Matrices that are written out are kept in `dtype`, by default the model's own, in which everything is computed.
    """

    def __init__(self, size: int, dtype: torch.dtype | None = None) -> None:
        self.size = size
        self._dtype = dtype
        self._buffer = Buffer()
        self._parts: dict[str, tuple[type[PerExampleGradient], ParameterBank]] = {}
        self._squared_norm_M = torch.zeros(size, dtype=torch.float64)
        self._filled = 0

    def add(self, name: str, gradient: PerExampleGradient) -> None:
        """Add one parameter's gradients of the current batch of test examples."""
        squared_norm = self._part(name, gradient).append(self._filled, gradient)
        self._squared_norm_M[self._filled : self._filled + len(squared_norm)] += squared_norm.cpu()

    def advance(self, examples: int) -> None:
        """The current batch, of so many examples, is complete; parameters it did not reach have zero gradient."""
        self._filled += examples

    def norms(self) -> Tensor:
        """Gradient norm of each test example over all parameters, [M] float64."""
        return self._squared_norm_M.sqrt()

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
                f"{name} serves as embedding and head in some batches and not in others: its scores "
                "cannot be computed. Leave it out with parameters="
            )
        return part

    def _new_part(self, gradient: PerExampleGradient) -> ParameterBank:
        match gradient:
            case OuterGradient():
                form = cheaper_form(gradient.shape, gradient.tokens, self.size)
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
