"""A linear map whose backward pass hands over its factors and computes nothing for tokens without gradient.

Autograd's own backward of a linear map multiplies the output gradient of every token, also of the many that no pooled
head reads; a hook cannot keep it from that.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sprachbund.gradients.deferred import TokensRead, linear_at
from sprachbund.gradients.few_tokens import TAKING, few_of, leads_to_takers
from sprachbund.gradients.per_example import DenseGradient, OuterGradient, PerExampleGradient
from sprachbund.gradients.products import through_linear
from sprachbund.gradients.rules import LinearRule, by_token
from sprachbund.gradients.some_tokens import SomeTokens
from sprachbund.gradients.spread_tokens import SpreadTokens
from sprachbund.gradients.unwritten import written_out

OnGradients = Callable[[dict[str, PerExampleGradient], Tensor | None], bool]
"""Receives gradients by local name, and the tokens [B, L] that have one, if they are few.

Says whether the backward pass is the losses' own, and not one that the model makes within, whose gradients it sees.
"""


class TrackedLinear(torch.autograd.Function):
    """y = x W^T + b for frozen W and b.

    The anchor is any tensor that requires a gradient (and gets none): so the backward pass comes by even where no input
    requires one. `read`: the tokens of [B, T, I] to compute now, the others being deferred.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        _anchor: Tensor,
        module: nn.Linear,
        size: int,
        on_gradients: OnGradients,
        read: TokensRead | None,
    ) -> Tensor:
        ctx.save_for_backward(input)
        ctx.module, ctx.size, ctx.on_gradients = module, size, on_gradients
        output = linear_at(input, module.weight, module.bias, read)
        if isinstance(output, SomeTokens):
            return output
        # Often a view, of a product over tokens: autograd lets nobody write into a view that comes out of a function.
        apart: Tensor = torch.ops.aten._unsafe_view(output, output.shape)
        return apart

    @staticmethod
    def backward(
        ctx: Any, grad_output: Tensor
    ) -> tuple[Tensor | None, None, None, None, None, None]:
        if torch.is_grad_enabled():  # a loss that differentiates through a gradient (create_graph)
            return _if_needed(ctx, lambda: grad_output @ ctx.module.weight)
        # Detached: a bank that kept it with its history would keep the whole pass, and the pass the bank.
        input = ctx.saved_tensors[0].detach()
        x_BTI = by_token(_by_example(input, ctx.size))
        if isinstance(grad_output, SpreadTokens) and grad_output.is_few and grad_output.is_by_token:
            return _through_spread(ctx, input, written_out(x_BTI), grad_output)
        of_few = few_of(grad_output, lambda grad: by_token(_by_example(grad, ctx.size)))
        if of_few is None:
            grad_output = written_out(grad_output)
            g_BTO = by_token(_by_example(grad_output, ctx.size))
            ctx.on_gradients(LinearRule.from_factors(written_out(x_BTI), g_BTO), None)
            return _if_needed(ctx, lambda: through_linear(grad_output, ctx.module.weight))
        gradients = LinearRule.from_factors(of_few.of(x_BTI), of_few.few)
        is_own = ctx.on_gradients(gradients, of_few.kept_BL)

        def through() -> Tensor:
            made = of_few.but(through_linear(of_few.few, ctx.module.weight))
            suits = is_own and made.whole_shape == input.shape
            if suits and leads_to_takers(ctx.next_functions[0][0]):
                return made
            return made.all_tokens().view(input.shape)

        return _if_needed(ctx, through)


TAKING.add(TrackedLinear)


def _through_spread(
    ctx: Any, input: Tensor, x_BTI: Tensor, g_BTC: SpreadTokens
) -> tuple[Tensor | None, None, None, None, None, None]:
    """The inputs are summed by the weights first; then there are as many products as vectors."""
    weight_BRT, vector_BRC = g_BTC.weight_BRT, g_BTC.vector_BRC
    weight = OuterGradient(vector_BRC, weight_BRT @ x_BTI)
    bias = DenseGradient(g_BTC.sum_over_tokens())
    ctx.on_gradients({"weight": weight, "bias": bias}, None)
    return _if_needed(
        ctx,
        lambda: (weight_BRT.mT @ (vector_BRC @ ctx.module.weight)).view(input.shape),
    )


def _by_example(tensor: Tensor, size: int) -> Tensor:
    return tensor if tensor.shape[0] == size else tensor.reshape(size, -1, *tensor.shape[1:])


def _if_needed(
    ctx: Any, gradient: Callable[[], Tensor]
) -> tuple[Tensor | None, None, None, None, None, None]:
    return (gradient() if ctx.needs_input_grad[0] else None), None, None, None, None, None


@contextmanager
def forward_replaced(module: nn.Module, forward: Callable[..., Tensor]) -> Iterator[None]:
    """The module computes `forward` inside."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
