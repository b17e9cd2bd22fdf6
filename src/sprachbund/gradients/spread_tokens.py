"""Gradients of keys and values where few queries have one: a few vectors, spread over all tokens by weights.

With one query, what attention sends back to a head's keys is that query's vector times a weight for each token, and to
its values the output's gradient times the attention. The linear maps behind them then have a gradient of as many outer
products as there are heads, not tokens: two matrices of the last layer cost next to nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sprachbund.gradients.unwritten import Unwritten

aten = torch.ops.aten


class SpreadTokens(Unwritten):
    """[B, H, T, D], the sum over l of weight[b, h, l, t] vector[b, h, l]; or [B, T, H, D], or [B, T, H*D].

    Between attention and a linear map autograd only turns and folds it. For whatever else is asked it is written out.
    """

    weight_BHLT: Tensor
    vector_BHLD: Tensor
    order: str
    """Of the axes: "BHTD", "BTHD" or, heads and features being one, "BTC"."""

    @staticmethod
    def __new__(
        cls, weight_BHLT: Tensor, vector_BHLD: Tensor, order: str = "BHTD"
    ) -> "SpreadTokens":
        shape = _shape(weight_BHLT, vector_BHLD, order)
        made: SpreadTokens = Tensor._make_wrapper_subclass(
            cls, shape, dtype=vector_BHLD.dtype, device=vector_BHLD.device
        )
        made.weight_BHLT, made.vector_BHLD, made.order = weight_BHLT, vector_BHLD, order
        made._written_out = None
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        held = tuple(self.vector_BHLD.shape)
        return f"SpreadTokens({self.whole_shape}, of vectors {held})"

    @classmethod
    def _of_what_is_held(
        cls,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        step = _STEPS.get(func)
        if step is None or not (isinstance(args[0], SpreadTokens) and args[0].is_few):
            return None
        return step(*args, **kwargs)

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """Asking for `shape` writes it out."""
        return _shape(self.weight_BHLT, self.vector_BHLD, self.order)

    @property
    def is_by_token(self) -> bool:
        return self.order == "BTC"

    def all_tokens(self) -> Tensor:
        if self._written_out is None:
            values_BHTD = self.weight_BHLT.mT @ self.vector_BHLD
            in_order = values_BHTD if self.order == "BHTD" else values_BHTD.transpose(1, 2)
            self._written_out = in_order.reshape(self.whole_shape).contiguous()
        return self._written_out

    def ordered(self, order: str) -> "SpreadTokens":
        return SpreadTokens(self.weight_BHLT, self.vector_BHLD, order)

    @property
    def weight_BRT(self) -> Tensor:
        """R is H*L."""
        return self.weight_BHLT.flatten(1, 2)

    @property
    def vector_BRC(self) -> Tensor:
        """Each with zeros for the other heads, so that [B, T, C] is the product of weights and these."""
        batch, heads, few, features = self.vector_BHLD.shape
        own_BHLHD = self.vector_BHLD.new_zeros(batch, heads, few, heads, features)
        own_BHLHD.diagonal(0, 1, 3).copy_(self.vector_BHLD.permute(0, 2, 3, 1))
        return own_BHLHD.view(batch, heads * few, heads * features)

    def sum_over_tokens(self) -> Tensor:
        """Of [B, T, C]: [B, C]."""
        summed_BHL1 = self.weight_BHLT.sum(3, keepdim=True)
        return (summed_BHL1 * self.vector_BHLD).sum(2).flatten(1)


def attended(
    grad_BHLD: Tensor,
    query_BHLD: Tensor,
    key_BHTD: Tensor,
    value_BHTD: Tensor,
    output_BHLD: Tensor,
    logsumexp_BHL: Tensor,
    mask: Tensor | None,
    scale: float | None,
) -> tuple[Tensor, SpreadTokens, SpreadTokens] | None:
    """Attention's backward pass from some queries to all keys: gradients of queries, keys and values.

    The attention itself comes from the scores and their log-sum-exp (Dao et al. 2022, FlashAttention, appendix B.2).
    None if that is no number, as of a query that may look at nothing.
    """
    scale = query_BHLD.shape[-1] ** -0.5 if scale is None else scale
    score_BHLT = query_BHLD @ key_BHTD.mT * scale
    if mask is not None:
        score_BHLT += mask
    attention_BHLT = (score_BHLT - logsumexp_BHL[..., None]).exp_()
    if not bool(attention_BHLT.isfinite().all()):
        return None
    sent_BHLT = grad_BHLD @ value_BHTD.mT
    sent_BHLT -= (grad_BHLD * output_BHLD).sum(3, keepdim=True)
    sent_BHLT *= attention_BHLT * scale
    of_keys, of_values = (
        SpreadTokens(sent_BHLT, query_BHLD),
        SpreadTokens(attention_BHLT, grad_BHLD),
    )
    return sent_BHLT @ key_BHTD, of_keys, of_values


def _shape(weight_BHLT: Tensor, vector_BHLD: Tensor, order: str) -> tuple[int, ...]:
    batch, heads, _, features = vector_BHLD.shape
    tokens = weight_BHLT.shape[3]
    if order == "BHTD":
        return batch, heads, tokens, features
    return (
        (batch, tokens, heads, features) if order == "BTHD" else (batch, tokens, heads * features)
    )


def _turned(held: SpreadTokens, first: int, second: int) -> SpreadTokens | None:
    if held.order == "BTC" or {first % 4, second % 4} != {1, 2}:
        return None
    return held.ordered("BTHD" if held.order == "BHTD" else "BHTD")


def _folded(held: SpreadTokens, shape: Sequence[int], *_strides: object) -> SpreadTokens | None:
    orders = (held.order,) if held.order == "BHTD" else ("BTHD", "BTC")
    found = [order for order in orders if held.ordered(order).whole_shape == tuple(shape)]
    return held.ordered(found[0]) if found else None


_STEPS: dict[Any, Callable[..., SpreadTokens | None]] = {
    aten.view.default: _folded,
    aten._unsafe_view.default: _folded,
    aten._reshape_alias.default: _folded,
    aten.transpose.int: _turned,
}
