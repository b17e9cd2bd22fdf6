"""Gradients of keys and values as a few vectors, spread over the tokens: equal to autograd's, example by example."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import oracle
from builders import batches, examples, xlm_roberta
from sprachbund import pairwise_influence
from sprachbund.gradients import tracked_linear
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.per_example import OuterGradient
from sprachbund.gradients.spread_tokens import SpreadTokens, attended

B, H, T, D = 3, 2, 12, 5
WIDTH = H * D


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def seen(*shape: int) -> Tensor:
    """A mask in which every query sees a key."""
    mask = randn(*shape, seed=9) > 0
    mask[..., 0] = True
    return mask


def blind() -> Tensor:
    """A mask in which the first query of one example sees nothing."""
    mask = seen(B, 1, T, T)
    mask[1, :, 0] = False
    return mask


class Attending(nn.Module):
    """Attention, of which `reads` are read: the first token, or several."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query, self.key, self.value, self.output = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.last = nn.Linear(WIDTH, 3)
        self.options: dict[str, Any] = options
        self.turn: Callable[[Tensor], Tensor] = lambda heads: heads
        self.reads = slice(0, 1)
        self.double()

    def heads(self, x_BTC: Tensor) -> Tensor:
        return x_BTC.view(len(x_BTC), T, H, D).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        key, value = self.turn(self.heads(self.key(x))), self.heads(self.value(x))
        options = {**self.options, **({} if mask is None else {"attn_mask": mask})}
        found = F.scaled_dot_product_attention(
            self.heads(self.query(x)), key, value, **options
        ).transpose(1, 2)
        hidden = self.output(found.reshape(len(x), T, WIDTH))
        return self.last(hidden[:, self.reads]).sum(1).square().sum(1)


def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return model(batch["x"], batch.get("mask"))


def batch_of(mask: Tensor | None) -> dict[str, Tensor]:
    batch = {"x": randn(B, T, WIDTH, seed=1), "labels": torch.zeros(B)}
    return batch if mask is None else {**batch, "mask": mask}


def found_and_expected(
    model: Attending, batch: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, int]]:
    """Gradients [B, ...] of the second pass, autograd's, and how many outer products each matrix's had."""
    gradients: dict[str, Any] = {}
    with GradientEngine(model, loss=loss) as engine:
        engine.per_example(batch, lambda _name, _gradient: None)
        engine.per_example(batch, gradients.__setitem__)
    found = {
        name: each.rows(0, each.shape[0]) if isinstance(each, OuterGradient) else each.values
        for name, each in gradients.items()
    }
    counts = {
        name: each.tokens for name, each in gradients.items() if isinstance(each, OuterGradient)
    }
    names = [name for name, _ in model.named_parameters()]
    rows = []
    for position in range(B):
        alone = {name: value[position : position + 1] for name, value in batch.items()}
        rows.append(torch.autograd.grad(loss(model, alone).sum(), list(model.parameters())))
    expected = {
        name: torch.stack(each) for name, each in zip(names, zip(*rows, strict=True), strict=True)
    }
    return found, expected, counts


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)


MASKS = {
    "no mask": None,
    "padding": seen(B, 1, 1, T),
    "a mask for each": seen(B, 1, T, T),
    "distances": randn(B, H, T, T, seed=3),
}


@pytest.mark.parametrize("options", [{}, {"scale": 0.7}], ids=["usual scale", "scaled"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("reads", [slice(0, 1), slice(4, 6)], ids=["one token", "two"])
def test_keys_and_values_have_as_many_products_as_heads(mask, options, reads):
    model = Attending(**options)
    model.reads = reads
    found, expected, counts = found_and_expected(model, batch_of(mask))
    assert_equal(found, expected)
    read = reads.stop - reads.start
    assert counts["key.weight"] == counts["value.weight"] == read * H
    assert counts["query.weight"] == read


@pytest.mark.parametrize(
    ("turn", "options", "mask", "reads"),
    [
        (lambda heads: heads * torch.arange(1.0, D + 1), {}, None, slice(0, 1)),
        (lambda heads: heads.roll(1, 3) + heads, {}, None, slice(0, 1)),
        (lambda heads: heads, {"is_causal": True}, None, slice(T - 1, T)),
        (lambda heads: heads, {}, None, slice(0, 4)),
    ],
    ids=["weighted", "rotated", "causal", "as many as tokens"],
)
def test_keys_on_another_way_get_all_tokens(turn, options, mask, reads):
    model = Attending(**options)
    model.turn, model.reads = turn, reads
    found, expected, counts = found_and_expected(model, batch_of(mask))
    assert_equal(found, expected)
    assert counts["key.weight"] == T


def test_a_query_that_sees_nothing_sends_nothing():
    model = Attending()
    model.reads = slice(0, 2)
    found, expected, _ = found_and_expected(model, batch_of(blind()))
    assert_equal(found, expected)


def test_attention_that_is_no_number_is_left_to_torch():
    few, of_all = randn(B, H, 1, D), randn(B, H, T, D, seed=1)
    nothing = torch.full((B, H, 1), -torch.inf, dtype=torch.float64)
    mask = torch.full((B, 1, 1, T), -torch.inf, dtype=torch.float64)
    assert attended(few, few, of_all, of_all, few, nothing, mask, None) is None


class Grouped(Attending):
    """Two heads of queries for each of keys."""

    def __init__(self) -> None:
        super().__init__(enable_gqa=True)
        self.key, self.value = (nn.Linear(WIDTH, 2 * D).double() for _ in range(2))
        self.query, self.output = (nn.Linear(WIDTH, 4 * D), nn.Linear(4 * D, WIDTH))
        self.double()

    def heads(self, x_BTC: Tensor) -> Tensor:
        return x_BTC.view(len(x_BTC), T, -1, D).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        assert mask is None
        projected = (self.heads(part(x)) for part in (self.query, self.key, self.value))
        found = F.scaled_dot_product_attention(*projected, **self.options).transpose(1, 2)
        hidden = self.output(found.reshape(len(x), T, -1))
        return self.last(hidden[:, self.reads]).sum(1).square().sum(1)


def test_heads_that_share_keys_are_left_to_torch():
    found, expected, counts = found_and_expected(Grouped(), batch_of(None))
    assert_equal(found, expected)
    assert counts["key.weight"] == T


class Checkpointed(Attending):
    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        run = super().forward
        value: Tensor = checkpoint(run, x, mask, use_reentrant=False)  # type: ignore[no-untyped-call]
        return value


def test_what_is_computed_again_for_the_backward_pass_is_so_once():
    found, expected, counts = found_and_expected(Checkpointed(), batch_of(None))
    assert_equal(found, expected)
    assert counts["key.weight"] == H


def held() -> tuple[SpreadTokens, Tensor]:
    weight, vector = randn(B, H, 2, T), randn(B, H, 2, D, seed=1)
    return SpreadTokens(weight, vector), torch.einsum("bhlt,bhld->bhtd", weight, vector)


TURNED = {
    "as it is": lambda x: x,
    "turned": lambda x: torch.ops.aten.transpose.int(x, 1, 2),
    "turned back": lambda x: torch.ops.aten.transpose.int(
        torch.ops.aten.transpose.int(x, 1, 2), -2, -3
    ),
    "folded": lambda x: torch.ops.aten.view.default(
        torch.ops.aten.transpose.int(x, 1, 2).contiguous()
        if type(x) is Tensor
        else torch.ops.aten.transpose.int(x, 1, 2),
        [B, T, WIDTH],
    ),
}


@pytest.mark.parametrize("turn", TURNED.values(), ids=TURNED)
def test_it_is_an_ordinary_tensor_to_whoever_asks(turn):
    few, dense = held()
    with torch._C.DisableTorchFunctionSubclass():  # as autograd asks
        turned = turn(few)
    assert isinstance(turned, SpreadTokens)
    assert turned.is_few
    assert "SpreadTokens" in repr(turned)
    torch.testing.assert_close(turned + 0, turn(dense))
    assert not turned.is_few  # what is written into it counts from now on
    turned.mul_(2)
    torch.testing.assert_close(turned.clone(), 2 * turn(dense))


def test_other_views_are_written_out():
    few, dense = held()
    with torch._C.DisableTorchFunctionSubclass():
        found = torch.ops.aten.transpose.int(few, 2, 3)
    torch.testing.assert_close(found, dense.mT)
    few, _ = held()
    with torch._C.DisableTorchFunctionSubclass():
        found = torch.ops.aten.view.default(few, [B * H, T, D])
    torch.testing.assert_close(found, dense.flatten(0, 1))


def test_whoever_hooks_keys_sees_and_changes_ordinary_gradients():
    model, shapes = Attending(), []

    def turn(heads: Tensor) -> Tensor:
        def note(grad: Tensor) -> Tensor:
            shapes.append(tuple(grad.shape))
            return 2 * grad

        if heads.requires_grad:
            heads.register_hook(note)
        return heads

    model.turn = turn
    found, expected, _ = found_and_expected(model, batch_of(None))
    assert_equal(found, expected)
    assert (B, H, T, D) in shapes


def test_scores_are_exact_whatever_the_training_examples_lengths(monkeypatch):
    """The bank's factors are of heads, and a short training text has a gradient at more tokens than it has heads."""
    through = []
    taken = tracked_linear._through_spread
    monkeypatch.setattr(
        tracked_linear, "_through_spread", lambda *given: through.append(1) or taken(*given)
    )
    model = xlm_roberta().double()
    train, test = batches(examples(7, seed=1), 3), batches(examples(4, seed=2), 4)
    short = [{name: v[:, :3] if v.dim() > 1 else v for name, v in each.items()} for each in train]
    found = pairwise_influence(model, [*train, *short], test, "cosine")
    expected = oracle.influence(model, [*train, *short], test, "cosine")
    assert oracle.relative_error(found, expected) < 1e-10
    assert through
