"""Layer norms with many numbers of each example: torch's own backward pass, once for each."""

import pytest
import torch
from torch import Tensor, nn

from sprachbund.gradients import rules
from sprachbund.gradients.engine import GradientEngine

BATCH, TOKENS, WIDTH = 3, 130, 128
SHAPES = {
    "tokens": lambda x: x,
    "tokens among the examples": lambda x: x.flatten(0, 1),
    "heads": lambda x: x.view(len(x), 2, TOKENS // 2, WIDTH),
    "tokens by columns": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
}


class Normed(nn.Module):
    """A norm of what requires a gradient, and of what does not."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.linear = nn.LayerNorm(WIDTH, bias=bias), nn.Linear(WIDTH, WIDTH)
        self.last = nn.LayerNorm(WIDTH, bias=bias, eps=0.1)
        for name, parameter in self.named_parameters():
            if "linear" not in name:
                nn.init.normal_(parameter, 1.0)

    def forward(self, x: Tensor, shape: str) -> Tensor:
        hidden = self.last(self.linear(self.first(SHAPES[shape](x))))
        return hidden.reshape(x.shape).square().sin().sum((1, 2))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_norms_of_many_numbers_agree_with_autograd(shape, bias, dtype, tolerance, monkeypatch):
    model = Normed(bias).to(dtype)
    # Far from zero: what subtracts the mean last loses digits.
    generator = torch.Generator().manual_seed(1)
    x = 10 + torch.randn(BATCH, TOKENS, WIDTH, generator=generator).to(dtype)
    batch, found, calls = {"x": x, "labels": torch.zeros(BATCH)}, {}, []
    one_by_one = rules._normalised_one_by_one
    monkeypatch.setattr(
        rules, "_normalised_one_by_one", lambda *given: calls.append(1) or one_by_one(*given)
    )

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return model(batch["x"], shape)

    with GradientEngine(model, loss=loss) as engine:
        engine.per_example(batch, lambda name, gradient: None)
        calls.clear()
        engine.per_example(batch, found.__setitem__)
    assert len(calls) == 1  # of the first nothing requires a gradient: autograd does not keep it
    norms = {name: value for name, value in model.named_parameters() if "linear" not in name}
    for position in range(BATCH):
        alone = model(x[position : position + 1], "tokens").sum()
        for name, expected in zip(
            norms, torch.autograd.grad(alone, list(norms.values())), strict=True
        ):
            error = (found[name].values[position] - expected).norm() / expected.norm()
            assert error < tolerance


def test_what_is_saved_is_unpacked_once():
    """By autograd: hooks of others may allow it no second time."""
    model, saved = Normed(True).double(), {}
    x = torch.randn(BATCH, TOKENS, WIDTH, dtype=torch.float64)

    def pack(value: Tensor) -> int:
        saved[len(saved)] = value
        return len(saved) - 1

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, saved.pop):
            return model(batch["x"], "tokens")

    found = {}
    with GradientEngine(model, loss=loss) as engine:
        engine.per_example({"x": x, "labels": torch.zeros(BATCH)}, found.__setitem__)
    alone = model(x[:1], "tokens").sum()
    (expected,) = torch.autograd.grad(alone, [model.last.weight])
    torch.testing.assert_close(found["last.weight"].values[0], expected)
