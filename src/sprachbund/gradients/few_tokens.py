"""Gradients that are zero but at a few tokens of each example, handed on as those tokens alone.

A pooled head reads one token of the last layer. Autograd's own backward of that layer's activation and attention would
write zeros for all others, and compute with them: 3 percent of a small model's epoch (docs/performance.md).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sprachbund.gradients.some_tokens import VIEWS, SomeTokens, by_number, mask_of
from sprachbund.gradients.spread_tokens import attended
from sprachbund.gradients.unwritten import written_out

aten = torch.ops.aten
_PROBED_FEATURES = 4


class FewTokens(SomeTokens):
    """A gradient that is zero at all other tokens.

    What autograd does with it between two linear maps is done with the few. For whatever else is asked, of a hook for
    instance, it is written out.
    """

    @staticmethod
    def __new__(cls, few: Tensor, kept_BL: Tensor, tokens: int, axis: int = 1) -> "FewTokens":
        return cls._holding(few, kept_BL, tokens, axis)

    @classmethod
    def _of_what_is_held(
        cls,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        step = STEPS_BACKWARD.get(func)
        is_of_few = isinstance(args[0], FewTokens) and args[0].is_few
        if step is None or not (is_of_few or step is _added):
            return None
        return step(func, *args, **kwargs)

    def but(self, few: Tensor, axis: int | None = None) -> "FewTokens":
        return FewTokens(few, self.kept_BL, self.tokens, self.axis if axis is None else axis)

    def all_tokens(self) -> Tensor:
        if self._written_out is None:
            self._written_out = self.added_to(self.few.new_zeros(self.whole_shape))
        return self._written_out

    def added_to(self, total: Tensor) -> Tensor:
        """In place, to an ordinary tensor of all tokens."""
        index = self._index(self.few.dim()).expand_as(self.few)
        return total.scatter_(self.axis, index, self.of(total) + self.few)


def few_of(grad: Tensor, as_tokens: Callable[[Tensor], Tensor]) -> FewTokens | None:
    """The tokens of a gradient that have one, where these are few; None where most have.

    A pooled head reads one token of the last layer, so most of that layer's linear maps and norms have output gradients
    at one token only. `as_tokens` brings a gradient that is written out to [B, T, D].
    """
    if isinstance(grad, FewTokens) and grad.is_few and grad.is_by_token:
        return grad
    g_BTD = as_tokens(written_out(grad))
    kept_BL = tokens_with_gradient(g_BTD)
    if kept_BL is None:
        return None
    return FewTokens(g_BTD.take_along_dim(kept_BL[:, :, None], 1), kept_BL, g_BTD.shape[1])


def tokens_with_gradient(g_BTO: Tensor) -> Tensor | None:
    """Positions [B, L] of the tokens with an output gradient, where these are few; None where most have one.

    A few features are probed first, of the middle tokens of one example and then of all: where they do not vanish,
    nothing does.
    """
    tokens = g_BTO.shape[1]
    middle = g_BTO[0, tokens // 2 : tokens // 2 + 2, :_PROBED_FEATURES]
    if tokens < 4 or bool(middle.any()):
        return None
    if int((g_BTO[..., :_PROBED_FEATURES] != 0).any(2).sum(1).max()) > tokens // 2:
        return None
    live_BT = torch.linalg.vector_norm(g_BTO, ord=1, dim=2) != 0  # five times as fast as any()
    most = max(int(live_BT.sum(1).max()), 1)
    # An example that has a gradient at fewer is given the others' tokens, so that all have the same where they can.
    rank_BT = 2 * live_BT.int() + live_BT.any(0).int()
    return torch.argsort(rank_BT, dim=1, descending=True, stable=True)[:, :most].sort(1).values


def _added(
    func: Callable[..., Tensor], first: Tensor, second: Any, **options: Any
) -> Tensor | None:
    """Two that are zero at the same tokens, or one and another of all tokens."""
    if options or not isinstance(second, Tensor):
        return None
    grad, other = (first, second) if isinstance(first, FewTokens) else (second, first)
    if not isinstance(grad, FewTokens) or not grad.is_few:
        return None
    if isinstance(other, FewTokens) and other.is_few and grad.is_at(other.kept_BL):
        return by_number(func, grad, other)
    other = written_out(other)
    return grad.added_to(other.clone()) if tuple(other.shape) == grad.whole_shape else None


def _attended(
    func: Callable[..., tuple[Tensor, ...]],
    grad: FewTokens,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    logsumexp: Tensor,
    dropout_p: float,
    is_causal: bool,
    *,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, ...] | None:
    """Attention from these tokens, to all."""
    if is_causal or grad.axis != 2:  # a causal mask counts its queries from the first
        return None
    mask = mask_of(grad, attn_mask)
    if dropout_p == 0 and _suits_spreading(grad, key):
        of_few = grad.few, grad.of(query), written_out(key), written_out(value)
        found = attended(*of_few, grad.of(output), grad.of(logsumexp), mask, scale)
        if found is not None:
            of_query, *of_others = found
            return grad.but(of_query), *of_others
    of_query, of_key, of_value = func(
        *(grad.few, grad.of(query), key, value, grad.of(output), grad.of(logsumexp)),
        *(dropout_p, is_causal),
        attn_mask=mask,
        scale=scale,
    )
    return grad.but(of_query), of_key, of_value


def _suits_spreading(grad: FewTokens, key: Tensor) -> bool:
    """Whether keys and values come from linear maps, which have fewer products of what is spread than tokens."""
    _, *others = torch._C._current_autograd_node().next_functions
    heads, few = grad.few.shape[1:3]
    is_precise = key.dtype in (torch.float32, torch.float64)  # scores in half precision are not
    # Else several heads of queries share one of keys.
    suits = is_precise and key.shape[1] == heads and 2 * heads * few <= key.shape[2]
    return suits and all(_leads_to_linear(node) for node, _ in others[:2])


def _through_layer_norm(
    func: Callable[..., tuple[Tensor | None, ...]],
    grad: FewTokens,
    input: Tensor,
    normalized_shape: Sequence[int],
    mean: Tensor,
    rstd: Tensor,
    *parameters_and_mask: Any,
) -> tuple[Tensor | None, ...] | None:
    """A norm over the features of each token, whose own parameters autograd differentiates for nobody."""
    *parameters, mask = parameters_and_mask
    if not grad.is_by_token or len(normalized_shape) != 1 or mask != [True, False, False]:
        return None
    of_few = grad.of(input), normalized_shape, grad.of(mean), grad.of(rstd)
    of_input, *_ = func(grad.few, *of_few, *parameters, mask)
    assert of_input is not None
    made = grad.but(of_input)
    return made if current_leads_to_takers() else made.all_tokens(), None, None


STEPS_BACKWARD: dict[Any, Callable[..., Any]] = {
    aten.gelu_backward.default: by_number,
    aten.silu_backward.default: by_number,
    aten.threshold_backward.default: by_number,
    aten.mul.Tensor: by_number,
    aten.add.Tensor: _added,
    **VIEWS,
    aten.native_layer_norm_backward.default: _through_layer_norm,
}
"""Of autograd's backward passes, what few tokens go through as such."""
_ATTENTION = "_scaled_dot_product_flash_attention_for_cpu_backward"
if hasattr(aten, _ATTENTION):  # not public
    STEPS_BACKWARD[getattr(aten, _ATTENTION).default] = _attended

_TURNING_NODES = {
    "ViewBackward0",
    "UnsafeViewBackward0",
    "ReshapeAliasBackward0",
    "TransposeBackward0",
}
_NODES = _TURNING_NODES | {
    "GeluBackward0",
    "SiluBackward0",
    "ReluBackward0",
    "MulBackward0",
    "AddBackward0",
    "CloneBackward0",
}
"""Autograd's nodes that hand few tokens on to all that they lead to."""
_ATTENTION_NODE = "ScaledDotProductFlashAttentionForCpuBackward0"
"""It does so to what the query came from."""
_LAST_NODES = {"NativeLayerNormBackward0", "EmbeddingBackward0"}
"""They take few tokens, and ask anew what they lead to or hand on all."""
TAKING: set[type[torch.autograd.Function]] = set()
"""Functions written in Python whose backward pass takes few tokens."""


def leads_to_takers(node: Any) -> bool:
    """Whether each step from this node of the graph to the next that takes few tokens is one that they go."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen or getattr(node, "_forward_cls", None) in TAKING:
            continue
        seen.add(node)
        following = [next_node for next_node, _ in node.next_functions]
        if node.name() == _ATTENTION_NODE:
            waiting.append(following[0])
        elif node.name() in _NODES:
            waiting += following
        elif node.name() not in _LAST_NODES:
            return False
    return True


def _leads_to_linear(node: Any) -> bool:
    """Whether what is sent to this node of the graph is but turned and folded on its way to a linear map."""
    while node is not None and node.name() in _TURNING_NODES:
        node = node.next_functions[0][0]
    return getattr(node, "_forward_cls", None) in TAKING


def current_leads_to_takers() -> bool:
    """The same of all that the node leads to whose backward pass is running."""
    node = torch._C._current_autograd_node()
    return all(leads_to_takers(next_node) for next_node, _ in node.next_functions)
