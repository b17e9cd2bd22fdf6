"""Gradients that are zero but at a few tokens of each example, handed on as those tokens alone.

A pooled head reads one token of the last layer. Autograd's own backward of that layer's activation and attention would
write zeros for all others, and compute with them: 3 percent of a small model's epoch (docs/performance.md).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

aten = torch.ops.aten


class FewTokens(Tensor):
    """[B, T, ...] or [B, H, T, ...]: `few` at the tokens `kept_BL`, [B, L, ...] or [B, H, L, ...], else zero.

    What autograd does with it between two linear maps is done with these tokens. For whatever else is asked, of a hook
    for instance, it is written out, and then what was written out counts.
    """

    few: Tensor
    kept_BL: Tensor
    tokens: int
    """T."""
    axis: int
    """The tokens': 1 or 2."""
    _written_out: Tensor | None

    @staticmethod
    def __new__(cls, few: Tensor, kept_BL: Tensor, tokens: int, axis: int = 1) -> "FewTokens":
        shape = _with_tokens(few, tokens, axis)
        made = Tensor._make_wrapper_subclass(cls, shape, dtype=few.dtype, device=few.device)
        made.few, made.kept_BL, made.tokens, made.axis = few, kept_BL, tokens, axis
        made._written_out = None
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"FewTokens({self.whole_shape}, {self.kept_BL.shape[1]} of axis {self.axis})"

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Whatever Python asks, and so not autograd: of views, too, which may be written into."""
        return _of_all_tokens(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        step = _STEPS.get(func)
        if step is not None and isinstance(args[0], FewTokens) and args[0].is_few:
            made = step(func, *args, **kwargs)
            if made is not None:
                return made
        return _of_all_tokens(func, args, kwargs)

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """With all tokens. Asked for its `shape`, it would be written out."""
        return _with_tokens(self.few, self.tokens, self.axis)

    @property
    def is_few(self) -> bool:
        """Whether `few` is what counts: nobody had it written out, and may have written into that."""
        return self._written_out is None

    @property
    def is_by_token(self) -> bool:
        """Whether it is [B, T, D], with no heads apart and no tokens for features."""
        return self.axis == 1 and self.few.dim() == 3

    def of(self, other: Tensor) -> Tensor:
        """These tokens of a tensor that has all on the same axis."""
        return other.take_along_dim(self._index(other.dim()), self.axis)

    def but(self, few: Tensor, axis: int | None = None) -> "FewTokens":
        """Other numbers at the same tokens."""
        return FewTokens(few, self.kept_BL, self.tokens, self.axis if axis is None else axis)

    def all_tokens(self) -> Tensor:
        """The same as an ordinary tensor; the same one each time."""
        if self._written_out is None:
            index = self._index(self.few.dim()).expand_as(self.few)
            zeros = self.few.new_zeros(self.whole_shape)
            self._written_out = zeros.scatter_(self.axis, index, self.few)
        return self._written_out

    def _index(self, axes: int) -> Tensor:
        shape = [1] * axes
        shape[0], shape[self.axis] = self.kept_BL.shape
        return self.kept_BL.view(shape)


def _with_tokens(few: Tensor, tokens: int, axis: int) -> tuple[int, ...]:
    return *few.shape[:axis], tokens, *few.shape[axis + 1 :]


def written_out(gradient: Tensor) -> Tensor:
    """The same gradient as an ordinary tensor."""
    return gradient.all_tokens() if isinstance(gradient, FewTokens) else gradient


def _of_all_tokens(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    args, kwargs = tree_map_only(FewTokens, written_out, (args, kwargs))
    return func(*args, **kwargs)


def _by_number(
    func: Callable[..., Tensor], grad: FewTokens, *others: Any, **options: Any
) -> FewTokens | None:
    """Of functions of one number: what they take besides has the gradient's shape."""
    tensors = [other for other in others if isinstance(other, Tensor)]
    if any(other.shape != grad.whole_shape for other in tensors):
        return None
    others = tuple(grad.of(other) if isinstance(other, Tensor) else other for other in others)
    return grad.but(func(grad.few, *others, **options))


def _viewed(
    _func: object, grad: FewTokens, shape: Sequence[int], *_strides: object
) -> FewTokens | None:
    """Heads apart or together, after the tokens' axis."""
    stays = grad.axis + 1
    if tuple(shape[:stays]) != grad.whole_shape[:stays]:
        return None
    return grad.but(grad.few.reshape(*grad.few.shape[:stays], *shape[stays:]))


def _transposed(_func: object, grad: FewTokens, first: int, second: int) -> FewTokens | None:
    """Heads before or after tokens."""
    axes = grad.few.dim()
    if {first % axes, second % axes} != {1, 2}:
        return None
    return grad.but(grad.few.transpose(1, 2), 3 - grad.axis)


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
    if attn_mask is not None and attn_mask.shape[-2] != 1:
        heads = attn_mask.shape[-3] if attn_mask.dim() > 2 else 1
        attn_mask = grad.of(attn_mask.expand(len(grad.few), heads, *attn_mask.shape[-2:]))
    of_query, of_key, of_value = func(
        *(grad.few, grad.of(query), key, value, grad.of(output), grad.of(logsumexp)),
        *(dropout_p, is_causal),
        attn_mask=attn_mask,
        scale=scale,
    )
    return grad.but(of_query), of_key, of_value


_STEPS: dict[Any, Callable[..., Any]] = {
    aten.gelu_backward.default: _by_number,
    aten.silu_backward.default: _by_number,
    aten.threshold_backward.default: _by_number,
    aten.mul.Tensor: _by_number,
    aten.view.default: _viewed,
    aten._unsafe_view.default: _viewed,
    aten._reshape_alias.default: _viewed,
    aten.transpose.int: _transposed,
}
_ATTENTION = "_scaled_dot_product_flash_attention_for_cpu_backward"
if hasattr(aten, _ATTENTION):  # not public
    _STEPS[getattr(aten, _ATTENTION).default] = _attended

NODES = {
    "GeluBackward0",
    "SiluBackward0",
    "ReluBackward0",
    "MulBackward0",
    "ViewBackward0",
    "UnsafeViewBackward0",
    "ReshapeAliasBackward0",
    "TransposeBackward0",
    "CloneBackward0",
}
"""Autograd's nodes that hand few tokens on to all that they lead to."""
ATTENTION_NODE = "ScaledDotProductFlashAttentionForCpuBackward0"
"""It does so to what the query came from."""
