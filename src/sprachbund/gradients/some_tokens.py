"""Tensors that stand for all tokens of a batch and hold the numbers of some."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from sprachbund.gradients.unwritten import Unwritten


class SomeTokens(Unwritten):
    """[B, T, ...] or [B, H, T, ...], of which `few` are at hand: those at `kept_BL`, [B, L, ...] or [B, H, L, ...].

    Subclasses say what the others are.
    """

    few: Tensor
    kept_BL: Tensor
    tokens: int
    """T."""
    axis: int
    """The tokens': 1 or 2."""

    @classmethod
    def _holding(cls, few: Tensor, kept_BL: Tensor, tokens: int, axis: int) -> Self:
        shape = with_tokens(few, tokens, axis)
        made = Tensor._make_wrapper_subclass(cls, shape, dtype=few.dtype, device=few.device)
        made.few, made.kept_BL, made.tokens, made.axis = few, kept_BL, tokens, axis
        made._written_out = None
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{type(self).__name__}({self.whole_shape}, {self.kept_BL.shape[1]} of axis {self.axis})"

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """With all tokens; asking for `shape` may write them out."""
        return with_tokens(self.few, self.tokens, self.axis)

    @property
    def is_by_token(self) -> bool:
        """Whether it is [B, T, D], with no heads apart and no tokens for features."""
        return self.axis == 1 and self.few.dim() == 3

    def of(self, other: Tensor) -> Tensor:
        """These tokens of a tensor that has all on the same axis."""
        if isinstance(other, SomeTokens):
            if other.is_few and other.axis == self.axis:
                if self.is_at(other.kept_BL):
                    return other.few
                place_BL = other.places(self.kept_BL)
                if place_BL is not None:
                    index = _along(place_BL, other.few.dim(), self.axis)
                    return other.few.take_along_dim(index, self.axis)
            other = other.all_tokens()
        return other.take_along_dim(self._index(other.dim()), self.axis)

    def is_at(self, kept_BL: Tensor) -> bool:
        """Whether these are the tokens at hand."""
        return kept_BL is self.kept_BL or torch.equal(kept_BL, self.kept_BL)

    def places(self, kept_BL: Tensor) -> Tensor | None:
        """Where these tokens are among those at hand, [B, L], if all of them are."""
        is_there = kept_BL[:, :, None] == self.kept_BL[:, None, :]
        return is_there.int().argmax(2) if bool(is_there.any(2).all()) else None

    @abstractmethod
    def but(self, few: Tensor, axis: int | None = None) -> Self:
        """Other numbers at the same tokens."""

    def _index(self, axes: int) -> Tensor:
        return _along(self.kept_BL, axes, self.axis)


def _along(index_BL: Tensor, axes: int, axis: int) -> Tensor:
    """An index to take along this axis of a tensor of so many."""
    shape = [1] * axes
    shape[0], shape[axis] = index_BL.shape
    return index_BL.view(shape)


def with_tokens(few: Tensor, tokens: int, axis: int) -> tuple[int, ...]:
    """The shape with so many tokens on this axis."""
    return *few.shape[:axis], tokens, *few.shape[axis + 1 :]


def by_number(
    func: Callable[..., Tensor], held: SomeTokens, *others: Any, **options: Any
) -> SomeTokens | None:
    """Of functions of one number: what they take besides has the same shape."""
    tensors = [other for other in others if isinstance(other, Tensor)]
    if any(_shape_of(other) != held.whole_shape for other in tensors):
        return None
    others = tuple(held.of(other) if isinstance(other, Tensor) else other for other in others)
    return held.but(func(held.few, *others, **options))


def viewed(
    _func: object, held: SomeTokens, shape: Sequence[int], *_strides: object
) -> SomeTokens | None:
    """Heads apart or together, after the tokens' axis."""
    stays = held.axis + 1
    if -1 in shape:
        known = math.prod(length for length in shape if length != -1)
        whole = math.prod(held.whole_shape)
        shape = [whole // known if length == -1 else length for length in shape]
    if tuple(shape[:stays]) != held.whole_shape[:stays]:
        return None
    return held.but(held.few.reshape(*held.few.shape[:stays], *shape[stays:]))


def transposed(_func: object, held: SomeTokens, first: int, second: int) -> SomeTokens | None:
    """Heads before or after tokens."""
    axes = held.few.dim()
    if {first % axes, second % axes} != {1, 2}:
        return None
    return held.but(held.few.transpose(1, 2), 3 - held.axis)


def mask_of(held: SomeTokens, mask: Tensor | None) -> Tensor | None:
    """An attention mask's rows for these queries."""
    if mask is None or mask.shape[-2] == 1:
        return mask
    heads = mask.shape[-3] if mask.dim() > 2 else 1
    return held.of(mask.expand(len(held.few), heads, *mask.shape[-2:]))


def _shape_of(value: Tensor) -> tuple[int, ...]:
    return value.whole_shape if isinstance(value, SomeTokens) else tuple(value.shape)


aten = torch.ops.aten
VIEWS: dict[Any, Callable[..., Any]] = {
    aten.view.default: viewed,
    aten._unsafe_view.default: viewed,
    aten._reshape_alias.default: viewed,
    aten.transpose.int: transposed,
}
"""What goes there and back by the same steps."""
