"""One pass of the hooks: what it keeps, and for how long."""

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sprachbund.errors import GradientError
from sprachbund.gradients.engine import GradientEngine

VECTORS = {
    "x": torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1)),
    "labels": torch.zeros(3),
}
LAYERS = {
    "linear": lambda: nn.Linear(8, 8),
    "stored transposed": lambda: Conv1D(8, 8),
    "norm": lambda: nn.LayerNorm(8),
    "differentiated locally": lambda: nn.Bilinear(8, 8, 8),
}


def squares(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Each example's mean square, [B]."""
    values: Tensor = model(batch["x"])
    return values.square().mean((1, 2))


class Stack(nn.Module):
    """Layers of one kind, with GELUs between them, which do not keep their outputs."""

    def __init__(self, kind: str, layers: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(LAYERS[kind]() for _ in range(layers))
        self.inputs: list[weakref.ref[torch.UntypedStorage]] = []

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = nn.functional.gelu(x)
            self.inputs.append(weakref.ref(x.untyped_storage()))
            x = layer(x, x) if isinstance(layer, nn.Bilinear) else layer(x)
        return x


@pytest.mark.parametrize("kind", LAYERS)
def test_the_input_of_a_module_is_free_once_its_gradient_is_used(kind):
    model = Stack(kind, layers=4)
    alive: dict[str, list[bool]] = {}

    def note(name: str, _gradient: Any) -> None:
        alive[name] = [input() is not None for input in model.inputs]

    with GradientEngine(model, loss=squares) as engine:
        engine.per_example(VECTORS, lambda *_: None)  # with the proof
        model.inputs.clear()
        engine.per_example(VECTORS, note)
    assert alive["layers.3.weight"][3]
    assert not any(alive["layers.1.weight"][2:])
    assert not any(alive["layers.0.weight"][1:])


class _Twice(torch.autograd.Function):
    """Sends the gradient back once more by itself."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, again: list[Tensor]) -> Tensor:
        ctx.again = again  # in a list: no input, as autograd sees it
        return values.clone()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        torch.autograd.backward(ctx.again, [grad_output], retain_graph=True)
        return grad_output, None


@pytest.mark.parametrize("kind", LAYERS)
def test_a_gradient_that_comes_twice_in_one_backward_pass_is_an_error(kind):
    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        values = model(batch["x"])
        twice: Tensor = _Twice.apply(values, [values.view_as(values)])  # type: ignore[no-untyped-call]
        return twice.square().mean((1, 2))

    with (
        GradientEngine(Stack(kind, layers=1), loss=loss) as engine,
        pytest.raises(GradientError, match=r"layers\.0\..*came twice in one backward pass"),
    ):
        engine.per_example(VECTORS, lambda *_: None)
