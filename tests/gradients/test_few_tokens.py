"""Gradients of few tokens: handed on as such, equal to autograd's own, and written out for whoever else asks."""

import copy
import pickle
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import oracle
from builders import batches, examples, xlm_roberta
from sprachbund import pairwise_influence
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.few_tokens import FewTokens
from sprachbund.gradients.per_example import OuterGradient
from sprachbund.gradients.tracked_linear import TrackedLinear

B, H, T, D = 3, 4, 12, 6
KEPT = torch.tensor([[2, 7], [0, 11], [5, 4]])
"""Two tokens of each example, in any order."""


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def keys_seen(*shape: int) -> Tensor:
    """A mask in which every query sees a key."""
    seen = randn(*shape, seed=9) > 0
    seen[..., 0] = True
    return seen


def few_and_all(*features: int) -> tuple[FewTokens, Tensor]:
    """A gradient [B, T, ...] both ways."""
    few = randn(B, 2, *features, seed=4)
    dense = torch.zeros(B, T, *features, dtype=torch.float64)
    for example, kept in enumerate(KEPT):
        dense[example, kept] = few[example]
    return FewTokens(few, KEPT, T), dense


def of_heads(x_BTD: Tensor) -> Tensor:
    return x_BTD.view(B, T, H, -1).transpose(1, 2)


def attention(**options: Any) -> Callable[..., Tensor]:
    """From and to [B, T, H*D], as models have it."""

    def attend(*qkv: Tensor) -> Tensor:
        found = F.scaled_dot_product_attention(*map(of_heads, qkv), **options)
        return found.transpose(1, 2).reshape(B, T, -1)

    return attend


def of_one(function: Callable[..., Tensor]) -> tuple[Callable[..., Tensor], list[Tensor]]:
    return function, [randn(B, T, D)]


def of_three(function: Callable[..., Tensor]) -> tuple[Callable[..., Tensor], list[Tensor]]:
    return function, [randn(B, T, H * D, seed=seed) for seed in range(3)]


HANDED_ON = {
    "gelu": of_one(F.gelu),
    "gelu, by tanh": of_one(lambda x: F.gelu(x, approximate="tanh")),
    "silu": of_one(F.silu),
    "relu": of_one(F.relu),
    "gated": (lambda x, y: F.silu(x) * y, [randn(B, T, D), randn(B, T, D, seed=1)]),
    "heads apart and together": of_one(lambda x: F.gelu(x.view(B, T, 2, -1)).flatten(2)),
    "attention": of_three(attention()),
    "attention, scaled": of_three(attention(scale=0.7)),
    "attention, padding": of_three(attention(attn_mask=keys_seen(B, 1, 1, T))),
    "attention, one mask": of_three(attention(attn_mask=keys_seen(T, T))),
    "attention, a mask for each": of_three(attention(attn_mask=keys_seen(B, 1, T, T))),
    "attention, distances": of_three(attention(attn_mask=randn(B, H, T, T, seed=3))),
    "attention, distances for all": of_three(attention(attn_mask=randn(1, H, T, T, seed=3))),
}
WRITTEN_OUT = {
    "attention, causal": of_three(attention(is_causal=True)),
    "a sum over tokens": of_one(lambda x: x.cumsum(1)),
    "examples and tokens together": of_one(lambda x: F.gelu(x.view(B * T, D)).view(B, T, D)),
    "a weight for each feature": of_one(lambda x: x * torch.arange(D)),
    "used twice": of_one(lambda x: F.gelu(x) + F.relu(x).exp()),
}
FUNCTIONS = {**HANDED_ON, **WRITTEN_OUT}


class Sent(torch.autograd.Function):
    """The same numbers, whose gradient is this, whatever comes."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, grad: Tensor) -> Tensor:
        ctx.grad = grad
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, _grad_output: Tensor) -> tuple[Tensor, None]:
        return ctx.grad, None


def differentiated(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], grad: Tensor
) -> list[Tensor]:
    given = [value.clone().requires_grad_() for value in inputs]
    sent = Sent.apply(function(*given), grad)
    return list(torch.autograd.grad(sent.sum(), given))


@pytest.mark.parametrize(("function", "inputs"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_gradients_are_autograds(function, inputs):
    few, dense = few_and_all(inputs[0].shape[2])
    for found, expected in zip(
        differentiated(function, inputs, few), differentiated(function, inputs, dense), strict=True
    ):
        torch.testing.assert_close(found.clone() + 0, expected, rtol=1e-12, atol=1e-12)


class TokensMet(TorchDispatchMode):
    """How many tokens the steps met inside that a backward pass consists of, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: defaultdict[str, list[int]] = defaultdict(list)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if isinstance(args[0], FewTokens):
            with self:  # what it does with its tokens is to be seen, too
                return FewTokens.__torch_dispatch__(func, types, args, kwargs)
        if "_backward" in func.__name__ and args[0].dim() > 2:
            self.tokens[func.__name__].append(args[0].shape[-2])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("function", "inputs"), HANDED_ON.values(), ids=HANDED_ON)
def test_nothing_is_computed_for_the_other_tokens(function, inputs):
    few, _ = few_and_all(inputs[0].shape[2])
    with TokensMet() as met:
        first, *_ = differentiated(function, inputs, few)
    assert isinstance(first, FewTokens)
    assert first.is_few
    assert met.tokens
    assert all(counts == [2] for counts in met.tokens.values())


def test_the_last_layer_goes_backward_over_the_token_that_is_read():
    model = xlm_roberta()
    (batch,) = batches(examples(3), 3)
    length = batch["input_ids"].shape[1]
    with GradientEngine(model) as engine:
        engine.per_example(batch, lambda _name, _gradient: None)  # the proof is made, too
        with TokensMet() as met:
            engine.per_example(batch, lambda _name, _gradient: None)
    assert met.tokens["gelu_backward.default"] == [1, length]  # the last layer, and the first
    # Of the last layer's attention nothing is computed by tokens.
    of_attention = met.tokens["_scaled_dot_product_flash_attention_for_cpu_backward.default"]
    assert of_attention == [length]


def test_a_linear_map_of_tokens_to_tokens_gets_all_of_them():
    """As in an MLP-Mixer: what are few tokens to its neighbours are features to it."""
    mixing, factors = nn.Linear(T, T).double().requires_grad_(False), []

    def tracked(x: Tensor) -> Tensor:
        def arrive(gradients: dict[str, OuterGradient], _kept_BL: Tensor | None) -> bool:
            factors.append(gradients["weight"])
            return True

        anchor = torch.zeros((), requires_grad=True)
        mixed = TrackedLinear.apply(x.transpose(1, 2), anchor, mixing, B, arrive, None)
        return mixed.transpose(1, 2)

    few, dense = few_and_all(D)
    x = randn(B, T, D)
    (found,) = differentiated(tracked, [x], few)
    (expected,) = differentiated(lambda x: mixing(x.mT).mT, [x], dense)
    torch.testing.assert_close(found + 0, expected)
    (weight,) = factors
    found = weight.left_BTO.mT @ weight.right_BTI
    torch.testing.assert_close(found, torch.einsum("btd,bsd->bts", dense, x))


def write_through_a_view(grad: Tensor) -> None:
    grad.view(B, T, 2, -1)[:, :, 0] = 1.0


def write_transposed(grad: Tensor) -> None:
    grad.transpose(1, 2)[:, 0] = 1.0


def replace_its_numbers(grad: Tensor) -> None:
    grad.data = 3 * grad.data


WRITES = {
    "in place": lambda grad: grad.mul_(2),
    "some tokens": lambda grad: grad[:, 3].fill_(1.0),
    "through a view": write_through_a_view,
    "through a transposed view": write_transposed,
    "other numbers": replace_its_numbers,
    "number by number": lambda grad: grad.apply_(lambda x: x + 1),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_somebody_writes_into_it_counts(write):
    few, dense = few_and_all(D)
    write(few)
    write(dense)
    (found,) = differentiated(F.gelu, [randn(B, T, D)], few)
    (expected,) = differentiated(F.gelu, [randn(B, T, D)], dense)
    torch.testing.assert_close(found, expected)


def test_it_can_be_looked_at_as_any_tensor():
    few, dense = few_and_all(D)
    assert few.shape == dense.shape
    assert few.tolist() == dense.tolist()
    assert (np.asarray(few) == dense.numpy()).all()
    assert (few.detach().cpu().numpy() == dense.numpy()).all()
    assert torch.equal(copy.deepcopy(few), dense)
    assert torch.equal(pickle.loads(pickle.dumps(few)), dense)
    assert few.norm() == dense.norm()


class Kernel(torch.autograd.Function):
    """As fast kernels are, which read memory where a gradient says that it is."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(_ctx: Any, grad_output: Tensor) -> Tensor:
        assert type(grad_output) is Tensor
        return 2 * grad_output


class KernelFirst(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = F.gelu(Kernel.apply(x))
        return activated


class Feedforward(nn.Module):
    """What takes the place of a layer's activation."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.scale = nn.Parameter(torch.linspace(0.5, 2, 48, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "scale inside":
            return F.gelu(x) * self.scale
        if self.kind == "scale first":
            return F.gelu(x * self.scale)
        x = F.gelu(x)
        if self.kind == "hook that changes" and x.requires_grad:
            x.register_hook(lambda grad: grad * 3)
        if self.kind == "hook that writes" and x.requires_grad:
            x.register_hook(lambda grad: grad.mul_(3))
        return x


@pytest.mark.parametrize(
    "make",
    [
        *(
            partial(Feedforward, kind)
            for kind in ("scale inside", "scale first", "hook that changes", "hook that writes")
        ),
        KernelFirst,  # which demands an ordinary tensor
    ],
)
def test_activations_of_other_kinds_are_exact(make):
    model = xlm_roberta(torch.float64)
    for layer in model.roberta.encoder.layer:
        layer.intermediate.intermediate_act_fn = make()
    rows = examples(9)
    train, test = batches(rows[:5], 3), batches(rows[5:], 2)
    expected = oracle.influence(model, train, test)
    found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, expected) < 1e-10


def test_a_gradient_that_the_loss_takes_within_is_an_ordinary_tensor():
    """Adversarial training asks for gradients of activations, and may hand them to anything."""
    model = xlm_roberta(torch.float64)
    activations = []
    for layer in model.roberta.encoder.layer:
        layer.intermediate.intermediate_act_fn.register_forward_hook(
            lambda _module, _args, output: activations.append(output)
        )

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        activations.clear()
        losses = F.cross_entropy(model(**batch).logits, batch["labels"], reduction="none")
        if losses.requires_grad:
            grads = torch.autograd.grad(losses.sum(), activations, retain_graph=True)
            assert all(type(grad) is Tensor for grad in grads)
        return losses

    train, test = batches(examples(4), 2), batches(examples(2, seed=2), 2)
    expected = oracle.influence(model, train, test)
    found = pairwise_influence(model, train, test, loss=loss)
    assert oracle.relative_error(found, expected) < 1e-10
