"""Activations that are computed at the tokens that are read, and at the others once somebody asks for them.

A pooled head reads one token of the last layer; that layer's linear maps, attention and norms at all others are 7
percent of a small model's epoch (docs/performance.md). Which tokens are read shows in the gradients of earlier passes.
Where that was no good guess, the rest is computed when it is needed: it costs time, and changes no number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor

from sprachbund.errors import GradientError
from sprachbund.gradients.few_tokens import (
    STEPS_BACKWARD,
    FewTokens,
    current_leads_to_takers,
    few_of,
)
from sprachbund.gradients.nested import tensors, with_each
from sprachbund.gradients.products import linear
from sprachbund.gradients.some_tokens import VIEWS, SomeTokens, by_number, mask_of
from sprachbund.gradients.unwritten import of_all_tokens, written_out

aten = torch.ops.aten
_WRITTEN = (
    "the model or the loss wrote into a tensor that is computed for some tokens only, or into one that it was made of: "
    "write into a copy"
)

_OPERATORS = "add and floordiv lshift matmul mod mul or pow rshift sub truediv xor"
_WRITING = {"__setitem__", "__set__", *(f"__i{name}__" for name in _OPERATORS.split())}


class _Rest:
    """All tokens of what a function makes: computed once, when first asked for."""

    def __init__(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        # Without their history, which would live as long as whoever keeps a result.
        args, kwargs = with_each(Tensor, _without_history, (args, kwargs))
        self._call: tuple[Any, ...] | None = (func, args, kwargs)
        self._versions = [
            (leaf, leaf._version) for leaf in tensors((args, kwargs)) if type(leaf) is Tensor
        ]
        self._found: Any = None

    def found(self) -> Any:
        if self._call is not None:
            if any(given._version != version for given, version in self._versions):
                raise GradientError(_WRITTEN)
            with torch.no_grad():
                self._found = of_all_tokens(*self._call)
            self._call = None
            self._versions.clear()
        return self._found


class DeferredTokens(SomeTokens):
    """An activation, of which the rest has not been computed.

    What a layer does with it, norms and attention from it included, is done at these tokens and deferred at the others.
    All else that is asked gets all tokens. Nothing may be written into it: that is an error, upon which the model is
    run once more without.
    """

    _rest: _Rest
    _result: int | None
    """Which of the function's results, if it has several."""
    _lent: list[Tensor]
    """Ordinary tensors that are copies in place of views. Who writes into one may not look at any that is deferred."""

    @staticmethod
    def __new__(
        cls, few: Tensor, kept_BL: Tensor, tokens: int, axis: int = 1, *, lent: list[Tensor]
    ) -> "DeferredTokens":
        made = cls._holding(few, kept_BL, tokens, axis)
        made._lent = lent
        return made

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """What is not known to come to `__torch_dispatch__` is asked of an ordinary tensor."""
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        lent = _first_of(args, kwargs)._lent
        writes = _writes(name) and isinstance(args[0], DeferredTokens)
        if writes or any(shared._version for shared in lent):
            raise GradientError(_WRITTEN)
        if func not in _DISPATCHED and name != "__get__":
            args, kwargs = with_each(DeferredTokens, _all_tokens_lent, (args, kwargs))
        with torch._C.DisableTorchFunctionSubclass():
            made = func(*args, **kwargs)
            if type(made) is Tensor and made._is_view():
                made = made.clone()
                lent.append(made.detach())
            return made

    @classmethod
    def _of_what_is_held(
        cls,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if any(isinstance(each, FewTokens) for each in tensors((args, kwargs))):
            return FewTokens._of_what_is_held(func, args, kwargs)
        if func._schema.is_mutable and isinstance(args[0], DeferredTokens):
            raise GradientError(_WRITTEN)
        if func in _ANSWERS:
            answer = _ANSWERS[func](func, *args, **kwargs)
            if answer is not None:
                return answer
        step = _STEPS.get(func)
        if step is not None and (_is_deferred(args[0]) or step is _of_two):
            made = step(func, *args, **kwargs)
            if made is not None:
                return _with_rest(made, _Rest(func, args, kwargs))
        return None

    def but(self, few: Tensor, axis: int | None = None) -> "DeferredTokens":
        axis = self.axis if axis is None else axis
        return DeferredTokens(few, self.kept_BL, self.tokens, axis, lent=self._lent)

    def all_tokens(self) -> Tensor:
        if self._written_out is None:
            found = self._rest.found()
            whole = found if self._result is None else found[self._result]
            self._written_out = whole.contiguous()  # as it has been to all who asked
        return self._written_out

    def all_tokens_lent(self) -> Tensor:
        """A copy for whoever may write into it, as autograd sees it a function of this one."""
        whole: Tensor = _WrittenOut.apply(self)  # type: ignore[no-untyped-call]
        self._lent.append(whole.detach())
        return whole

    def alias(self) -> "DeferredTokens":
        """The same numbers and the same rest."""
        made = self.but(self.few)
        made._rest, made._result, made._written_out = self._rest, self._result, self._written_out
        return made

    def position(self, token: int) -> int | None:
        """Where this token is among the few, if it is one of them for all examples."""
        found = (self.kept_BL == token % self.tokens).all(0).nonzero()
        return int(found[0]) if len(found) else None


@dataclass(frozen=True)
class TokensRead:
    """Positions [L] of the tokens of each example that are read; what one forward pass has `lent`, till it ends."""

    read_L: Tensor
    lent: list[Tensor]


def linear_at(
    input: Tensor, weight_OI: Tensor, bias_O: Tensor | None, read: TokensRead | None
) -> Tensor:
    """x W^T + b, without gradient: of what is deferred at its tokens, of [B, T, I] at those that are read, if known."""
    if isinstance(input, DeferredTokens) and input.is_few and input.is_by_token:
        made = input.but(linear(input.few, weight_OI, bias_O))
    elif read is not None and not isinstance(input, DeferredTokens):
        few = linear(input[:, read.read_L], weight_OI, bias_O)
        kept_BL = read.read_L.expand(len(input), -1)
        made = DeferredTokens(few, kept_BL, input.shape[1], lent=read.lent)
    else:
        return linear(written_out(input), weight_OI, bias_O)
    _with_rest(made, _Rest(linear, (input, weight_OI, bias_O), {}))
    return made


def _first_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> DeferredTokens:
    return next(leaf for leaf in tensors((args, kwargs)) if isinstance(leaf, DeferredTokens))


def _without_history(value: Tensor) -> Tensor:
    if isinstance(value, DeferredTokens):
        return value.alias()
    # Inside `__torch_dispatch__` a tensor that is detached would else not know of what is written into the first.
    key = torch._C.DispatchKey.ADInplaceOrView
    with torch._C._SetExcludeDispatchKeyGuard(key, False):
        return value.detach()


def _all_tokens_lent(value: DeferredTokens) -> Tensor:
    return value.all_tokens_lent()


def _with_rest(made: Any, rest: _Rest) -> Any:
    results = (made,) if isinstance(made, DeferredTokens) else made
    for number, result in enumerate(results):
        result._rest, result._result = rest, None if result is made else number
    return made


def _writes(name: str) -> bool:
    """Whether a function of this name writes into what it is given."""
    return name in _WRITING or (name.endswith("_") and not name.endswith("__"))


class _WrittenOut(torch.autograd.Function):
    """All tokens, as autograd sees them a function of the few."""

    @staticmethod
    def forward(_ctx: Any, deferred: DeferredTokens) -> Tensor:
        return deferred.all_tokens().clone()

    @staticmethod
    def backward(_ctx: Any, grad_output: Tensor) -> Tensor:
        return grad_output


def _of_two(
    func: Callable[..., Tensor], first: Any, second: Any, **options: Any
) -> SomeTokens | None:
    """Functions of two numbers, the first or the second of which is deferred."""
    if _is_deferred(first):
        return by_number(func, first, second, **options)
    if _is_deferred(second):
        return by_number(lambda few, other: func(other, few, **options), second, first)
    return None


def _normalised(
    func: Callable[..., tuple[Tensor, ...]],
    held: DeferredTokens,
    normalized_shape: Sequence[int],
    *options: Any,
) -> tuple[DeferredTokens, ...] | None:
    """A norm over the features of each token: its output, the mean, one over the deviation."""
    if not held.is_by_token or len(normalized_shape) != 1:
        return None
    return tuple(held.but(result) for result in func(held.few, normalized_shape, *options))


def _attended(
    func: Callable[..., tuple[Tensor, Tensor]],
    query: DeferredTokens,
    key: Tensor,
    value: Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
) -> tuple[DeferredTokens, ...] | None:
    """Attention from these tokens, to all."""
    if query.axis != 2 or is_causal:
        return None  # a causal mask counts its queries from the first
    found = func(
        *(query.few, written_out(key), written_out(value), dropout_p, is_causal),
        attn_mask=mask_of(query, attn_mask),
        scale=scale,
    )
    return tuple(map(query.but, found))


def _is_deferred(value: object) -> TypeGuard[DeferredTokens]:
    return isinstance(value, DeferredTokens) and value.is_few


def _alias(_func: object, held: DeferredTokens) -> DeferredTokens:
    return held.alias()


def _selected(_func: object, held: DeferredTokens, axis: int, token: int) -> Tensor | None:
    """One token of each example, if it is at hand."""
    if not held.is_few or axis % held.few.dim() != held.axis:
        return None
    position = held.position(token)
    return None if position is None else held.few.select(axis, position)


def _kind_of_attention(
    func: Callable[..., int], query: Tensor, *others: Any, **options: Any
) -> int | None:
    """It goes by shapes, so that memory that nobody touches does for the query."""
    if not isinstance(query, DeferredTokens):
        return None
    untouched = torch.empty(query.whole_shape, dtype=query.dtype, device=query.device)
    return func(untouched, *map(written_out, others), **options)


def _backward(func: Callable[..., Any], grad: Tensor, *others: Any, **options: Any) -> Any:
    """Of a gradient of all tokens, as a reading of some sends it: at those that have one."""
    few = few_of(grad, lambda grad_BTD: grad_BTD) if grad.dim() == 3 else None
    if few is None:
        return None
    made = STEPS_BACKWARD[func](func, few, *others, **options)
    return made if current_leads_to_takers() else with_each(FewTokens, written_out, made)


_STEPS: dict[Any, Callable[..., Any]] = {
    aten.gelu.default: by_number,
    aten.silu.default: by_number,
    aten.relu.default: by_number,
    aten.tanh.default: by_number,
    aten.add.Tensor: _of_two,
    aten.mul.Tensor: _of_two,
    **VIEWS,
    aten.native_layer_norm.default: _normalised,
}
"""What is deferred itself."""
_ANSWERS: dict[Any, Callable[..., Any]] = {
    aten.detach.default: _alias,
    aten.select.int: _selected,
    aten._fused_sdp_choice.default: _kind_of_attention,
    aten.native_layer_norm_backward.default: _backward,
    aten.gelu_backward.default: _backward,
    aten.silu_backward.default: _backward,
    aten.threshold_backward.default: _backward,
}
"""What is known without the rest."""
_ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"
if hasattr(aten, _ATTENTION):  # not public
    _STEPS[getattr(aten, _ATTENTION).default] = _attended

_DISPATCHED = {
    *(F.gelu, F.silu, F.relu, torch.relu, Tensor.relu, torch.tanh, Tensor.tanh),
    *(torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__),
    *(torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__),
    *(F.layer_norm, F.dropout, F.scaled_dot_product_attention),
    *(Tensor.view, Tensor.reshape, Tensor.transpose, torch.transpose, Tensor.contiguous),
    *(Tensor.__getitem__, Tensor.select, torch.select, Tensor.detach),
    *(Tensor.register_hook, Tensor.retain_grad),
    *(Tensor.size, Tensor.__len__, Tensor.dim, Tensor.numel, Tensor.stride, Tensor.is_contiguous),
    *(Tensor.is_floating_point, torch.is_floating_point),
}
"""What Python may call on it: functions and questions that lead to the steps above, or to shapes alone."""
