"""A linear map whose backward pass hands over its factors and computes nothing for tokens without gradient.

Autograd's own backward of a linear map multiplies the output gradient of every token, also of the many that no pooled
head reads; a hook cannot keep it from that.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sprachbund.gradients.products import linear, through_linear
from sprachbund.gradients.rules import by_token, take, tokens_with_gradient

OnFactors = Callable[[Tensor, Tensor], None]
"""Receives inputs [B, L, I] and output gradients [B, L, O] of the tokens that have one."""


class TrackedLinear(torch.autograd.Function):
    """y = x W^T + b for frozen W and b.

    The anchor is any tensor that requires a gradient (and gets none): so the backward pass comes by even where no input
    requires one.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        _anchor: Tensor,
        module: nn.Linear,
        size: int,
        on_factors: OnFactors,
    ) -> Tensor:
        ctx.save_for_backward(input)
        ctx.module, ctx.size, ctx.on_factors = module, size, on_factors
        output = linear(input, module.weight, module.bias)
        # Often a view, of a product over tokens: autograd lets nobody write into a view that comes out of a function.
        apart: Tensor = torch.ops.aten._unsafe_view(output, output.shape)
        return apart

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        if torch.is_grad_enabled():  # a loss that differentiates through a gradient (create_graph)
            return _if_needed(ctx, lambda: grad_output @ ctx.module.weight)
        # Detached: a bank that kept it with its history would keep the whole pass, and the pass the bank.
        input = ctx.saved_tensors[0].detach()
        x_BTI, g_BTO = (by_token(_by_example(value, ctx.size)) for value in (input, grad_output))
        kept_BL = tokens_with_gradient(g_BTO)
        if kept_BL is None:
            ctx.on_factors(x_BTI, g_BTO)
            return _if_needed(ctx, lambda: through_linear(grad_output, ctx.module.weight))
        kept_g = take(g_BTO, kept_BL)
        ctx.on_factors(take(x_BTI, kept_BL), kept_g)

        def scattered() -> Tensor:
            products = through_linear(kept_g, ctx.module.weight)
            index = kept_BL[:, :, None].expand_as(products)
            return x_BTI.new_zeros(x_BTI.shape).scatter_(1, index, products).view(input.shape)

        return _if_needed(ctx, scattered)


def _by_example(tensor: Tensor, size: int) -> Tensor:
    return tensor if tensor.shape[0] == size else tensor.reshape(size, -1, *tensor.shape[1:])


def _if_needed(
    ctx: Any, gradient: Callable[[], Tensor]
) -> tuple[Tensor | None, None, None, None, None]:
    return (gradient() if ctx.needs_input_grad[0] else None), None, None, None, None


@contextmanager
def forward_replaced(module: nn.Module, forward: Callable[..., Tensor]) -> Iterator[None]:
    """The module computes `forward` inside."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
