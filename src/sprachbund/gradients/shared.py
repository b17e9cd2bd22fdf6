"""What all examples share, told apart where the model gives it to each.

Biases by relative position (T5, MPNet) are looked up once for a whole batch, [T, T, H], and come to each example's
attention scores by broadcasting; DeBERTa's relative embeddings go through a norm and linear maps first. Autograd
adds up what the examples send back. Here it is read off first, and goes back example by example through those modules.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sprachbund.gradients.per_example import PerExampleGradient

_BROADCASTING = {
    torch.add,
    Tensor.add,
    Tensor.add_,
    torch.where,
    F.scaled_dot_product_attention,
}

# What a model asks about a table without reading it, and properties, which may be either.
_ABOUT = {"__get__", "size", "dim", "numel", "stride", "is_floating_point", "get_device", "__len__"}

Route = tuple[tuple[int, str], ...]
"""How something shared came to the examples: operation by operation, which it was and the how manieth of its tensor."""

# What the examples send back is added up in two orders: in units of the last digit, and in half precision a tenth.
_ROUNDING, _LARGEST_ROUNDING = 1e3, 0.1


@dataclass
class Counting:
    """Whether gradients count: those of the losses' backward pass, and not of one that is made within."""

    is_on: bool = False

    @contextmanager
    def switched(self, is_on: bool) -> Iterator[bool]:
        """Inside they do, or do not; whether they did before."""
        before, self.is_on = self.is_on, is_on
        try:
            yield before
        finally:
            self.is_on = before


class SharedResult:
    """What one call made that examples may share, and what each of them has sent back for it.

    `per_example` makes of the latter, [B, *shape of the result], the gradients of the call's parameters; `parent` is
    the call that had made what this one was given. What came of a table that was read directly they certainly share.
    """

    def __init__(
        self,
        per_example: Callable[[Tensor], dict[str, PerExampleGradient]],
        parent: "SharedResult | None" = None,
        *,
        is_certain: bool = False,
    ) -> None:
        self.is_certain: bool = is_certain or (parent is not None and parent.is_certain)
        self._per_example: Callable[[Tensor], dict[str, PerExampleGradient]] | None = per_example
        self._parent = parent
        self._values: Tensor | None = None
        self._sent: Tensor | None = None
        self._is_readable = True
        self.routes: set[Route] = set()

    @property
    def is_shared(self) -> bool:
        """Whether anything has come back example by example."""
        return self._sent is not None

    def holds(self, values: Tensor) -> None:
        """These are what the call made."""
        self._values = values

    def take_in(self, made_of_it: Tensor, grad: Tensor) -> None:
        """Each example's gradient, [B, *shape], of something that was made of the values."""
        assert self._values is not None
        try:
            (sent,) = torch.autograd.grad(
                made_of_it, self._values, grad, retain_graph=True, is_grads_batched=True
            )
        except RuntimeError:
            # A backward pass that is not one for several at once, or has a hook that is not.
            self._is_readable = False
            return
        self._sent = sent if self._sent is None else self._sent + sent

    def gradients(self, total: Tensor) -> dict[str, PerExampleGradient] | None:
        """By local name; None if what could be read of the examples is not all of the `total` that the values got.

        The parent takes in its part.
        """
        assert self._values is not None
        assert self._sent is not None
        rounding = min(_ROUNDING * torch.finfo(total.dtype).eps, _LARGEST_ROUNDING)
        missing = (self._sent.sum(0) - total).abs()
        largest = self._sent.abs().sum(0).max()
        if not self._is_readable or not bool((missing <= rounding * largest).all()):
            return None
        if self._parent is not None:
            self._parent.take_in(self._values, self._sent)
        return self._handed_over(self._sent)

    def gradients_of_one(self, total: Tensor) -> dict[str, PerExampleGradient]:
        """By local name, in a batch of one example: whatever came is its."""
        return self._handed_over(total.unsqueeze(0))

    def _handed_over(self, sent: Tensor) -> dict[str, PerExampleGradient]:
        assert self._per_example is not None
        found = self._per_example(sent)
        self.forget()
        return found

    def forget(self) -> None:
        """The values have a hook that has this: together they would stay."""
        self._values = self._sent = self._parent = self._per_example = None


@dataclass
class _Followed:
    """A tensor on its way, and which result it was made of by which route."""

    tensor: Tensor
    result: SharedResult
    route: Route
    uses: int = 0

    def next_by(self, func: Callable[..., Any]) -> Route:
        self.uses += 1
        return (*self.route, (self.uses, func.__name__))


class NotFollowedError(Exception):
    """Something that examples may share came in a pass in which nothing is followed."""


class SharedValues(TorchFunctionMode):
    """Inside, results that are `watch`ed are followed to where they meet something of each of the examples.

    What is made of one, and of nothing else that has a gradient, is followed on. Where it is one for all and meets a
    tensor that has one for each, it is spread: the same numbers, whose gradient comes example by example.

    A table (by its `id`) that is read otherwise than by a lookup is watched from there on: `read(table)` gives what is.

    Following costs some microseconds for each function that the model calls, so that where earlier passes had nothing
    to follow it is left out. Whatever is watched then is a `NotFollowedError`.
    """

    def __init__(
        self,
        size: int,
        counting: Counting,
        tables: Set[int],
        read: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self._size, self._counting = size, counting
        self._tables, self._read = tables, read
        self._results: list[SharedResult] = []
        self._followed: dict[int, _Followed] = {}
        self._read_from: dict[int, Tensor] = {}
        self._spread: dict[tuple[int, int], Tensor] = {}
        self._looked_up: set[int] = set()
        self._is_followed = False

    def __enter__(self) -> Self:
        self._is_followed = True
        entered: Self = super().__enter__()  # type: ignore[no-untyped-call]
        return entered

    @property
    def is_needed(self) -> bool:
        """Whether there was anything to follow, or there is a table that may be read as it was not looked up."""
        return bool(self._results or self._read_from or self._tables - self._looked_up)

    def look_up(self, table: Tensor) -> None:
        """Its module was called."""
        self._looked_up.add(id(table))

    def watch(self, values: Tensor, result: SharedResult) -> None:
        if not self._is_followed:
            raise NotFollowedError
        result.holds(values)
        self._results.append(result)
        self._followed[id(values)] = _Followed(values, result, ())

    def result_of(self, value: Tensor | None) -> SharedResult | None:
        """The watched result that this was made of alone."""
        value = self._read_from.get(id(value), value)
        followed = self._followed.get(id(value))
        return None if followed is None else followed.result

    def forget(self) -> None:
        for result in self._results:
            result.forget()
        self._results.clear()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self._followed.clear()
        self._read_from.clear()
        self._spread.clear()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        table = next((value for value in args if id(value) in self._tables), None)
        if table is None or func in (F.embedding, Tensor.detach) or not torch.is_grad_enabled():
            return self._follow(func, args, kwargs)
        if func.__name__ in _ABOUT:
            about = func(*args, **kwargs)
            if not isinstance(about, Tensor) or not about.is_floating_point():
                return about
        if id(table) not in self._read_from:
            self._read_from[id(table)] = self._read(table)
        values = self._read_from[id(table)]
        args = tuple(values if value is table else value for value in args)
        return self._follow(func, args, kwargs)

    def _follow(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        given = [*args, *kwargs.values()]
        followed = [value for value in given if id(value) in self._followed]
        if not followed:
            return func(*args, **kwargs)
        if self._size > 1:  # else all that it gets is the one example's
            for shared in followed:
                each = self._for_each(func, shared, args, given)
                if each is None:
                    continue
                if func is Tensor.repeat:
                    return each.contiguous()
                args = tuple(each if value is shared else value for value in args)
                kwargs = {name: each if v is shared else v for name, v in kwargs.items()}
                return func(*args, **kwargs)
        if len(followed) > 1:
            return func(*args, **kwargs)
        return self._made_of(followed[0], func, args, kwargs)

    def _made_of(
        self,
        shared: Tensor,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """What the function makes of it, followed on if nothing else in it has a gradient."""
        output = func(*args, **kwargs)
        others = (value for value in (*args, *kwargs.values()) if value is not shared)
        if isinstance(output, Tensor) and not any(
            other.requires_grad for other in others if isinstance(other, Tensor)
        ):
            source = self._followed[id(shared)]
            route = source.next_by(func)
            self._followed[id(output)] = _Followed(output, source.result, route)
        return output

    def _for_each(
        self,
        func: Callable[..., Any],
        shared: Tensor,
        args: tuple[Any, ...],
        given: Sequence[Any],
    ) -> Tensor | None:
        """What takes its place, with one for each example, where this function would give it to each."""
        is_one = shared.shape[:1] == (1,)
        if func in (Tensor.expand, Tensor.repeat):
            sizes = _sizes(args)
            meets = len(sizes) == shared.dim() and sizes[0] == self._size
            meets &= is_one if func is Tensor.expand else {*sizes[1:]} <= {1}
            return self._spread_of(shared, func).flatten(0, 1) if meets else None
        if func not in _BROADCASTING:
            return None
        others = (value for value in given if isinstance(value, Tensor) and value is not shared)
        axes = {other.dim() for other in others if other.shape[:1] == (self._size,)}
        if is_one and shared.dim() in axes:
            return self._spread_of(shared, func).flatten(0, 1)
        return self._spread_of(shared, func) if shared.dim() + 1 in axes else None

    def _spread_of(self, shared: Tensor, func: Callable[..., Any]) -> Tensor:
        """[B, *shape]; the same tensor each time, so that what comes back adds up."""
        source = self._followed[id(shared)]
        source.result.routes.add(source.next_by(func))
        key = id(shared), shared._version  # it may be written into between two uses
        if key not in self._spread:
            self._spread[key] = _Spread.apply(shared, self._size, source.result, self._counting)  # type: ignore[no-untyped-call]
        return self._spread[key]


def _sizes(args: tuple[Any, ...]) -> Sequence[int]:
    """Of `expand` and `repeat`, which take them one by one or together."""
    return args[1] if len(args) == 2 and isinstance(args[1], Sequence) else args[1:]


class _Spread(torch.autograd.Function):
    """[...] to [B, ...]."""

    @staticmethod
    def forward(
        ctx: Any, shared: Tensor, size: int, result: SharedResult, counting: Counting
    ) -> Tensor:
        ctx.shared, ctx.result, ctx.counting = shared, result, counting
        shape = size, *shared.shape
        # No view, as autograd sees it: the model may write into what was spread.
        apart: Tensor = torch.ops.aten._unsafe_view(shared.expand(shape), shape)
        return apart

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        # On the way to the values their hook is passed, which is not to know.
        with ctx.counting.switched(False) as counts:
            if counts:
                ctx.result.take_in(ctx.shared, grad_output)
        return grad_output.sum(0), None, None, None
