"""Rows of a table that all examples share, told apart where the model gives them to each.

Biases by relative position (T5, MPNet) are looked up once for a whole batch, [T, T, H], and come to each example's
attention scores by broadcasting. Autograd adds up what the examples send back; here it is read off before.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sprachbund.gradients.per_example import RowGradient

_BROADCASTING = {
    torch.add,
    Tensor.add,
    Tensor.add_,
    torch.where,
    F.scaled_dot_product_attention,
}
Route = tuple[int, str]
"""After how many operations rows came to the examples, and by which."""

# In units of the last digit of what the examples send back, which is added up in two orders.
_ROUNDING = 1e3


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


class SharedLookup:
    """One lookup of `ids` [...] whose rows [..., D] the examples may share, and what each has sent back for these."""

    def __init__(self, ids: Tensor, table_rows: int, padding_idx: int | None) -> None:
        self._ids, self._table_rows, self._padding_idx = ids, table_rows, padding_idx
        self._rows: Tensor | None = None
        self._sent: Tensor | None = None
        self.routes: set[Route] = set()

    @property
    def is_shared(self) -> bool:
        """Whether anything has come back example by example."""
        return self._sent is not None

    def is_of(self, rows: Tensor) -> None:
        """These rows were looked up."""
        self._rows = rows

    def take_in(self, shared: Tensor, grad: Tensor) -> None:
        """What the examples send back, [B, ...], to the [1, ...] that was made of the rows."""
        assert self._rows is not None
        grads = grad.unsqueeze(1)
        (sent,) = torch.autograd.grad(
            shared, self._rows, grads, retain_graph=True, is_grads_batched=True
        )
        self._sent = sent if self._sent is None else self._sent + sent

    def gradient(self, total: Tensor) -> RowGradient | None:
        """The table's, by example; None if what the examples sent is not all of the `total` that the rows have got."""
        assert self._sent is not None
        sent, self._sent = self._sent, None
        rounding = _ROUNDING * torch.finfo(sent.dtype).eps * sent.abs().sum(0).max()
        if not bool(((sent.sum(0) - total).abs() <= rounding).all()):
            return None
        ids, place = self._ids.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        rows = sent.new_zeros(len(sent), len(ids), sent.shape[-1])
        rows.index_add_(1, place.flatten(), sent.flatten(1, -2))
        return RowGradient(ids.expand(len(sent), -1), rows, self._table_rows, self._padding_idx)

    def forget(self) -> None:
        """The rows have a hook that has this: together they would stay."""
        self._rows = self._sent = None


class SharedRows(TorchFunctionMode):
    """Inside, rows that are `watch`ed are followed to where they meet something of each of the examples.

    What is made of them and of nothing else that has a gradient is followed on. Where it has one row for all and meets
    a tensor with one for each, it is spread to as many: the same numbers, whose gradient comes example by example.
    """

    def __init__(self, size: int, counting: Counting) -> None:
        super().__init__()
        self._size, self._counting = size, counting
        self._lookups: list[SharedLookup] = []
        self._followed: dict[int, tuple[Tensor, SharedLookup, int]] = {}
        self._spread: dict[int, Tensor] = {}

    def watch(self, rows: Tensor, lookup: SharedLookup) -> None:
        lookup.is_of(rows)
        self._lookups.append(lookup)
        self._followed[id(rows)] = rows, lookup, 0

    def forget(self) -> None:
        for lookup in self._lookups:
            lookup.forget()
        self._lookups.clear()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self._followed.clear()
        self._spread.clear()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        given = [*args, *kwargs.values()]
        followed = [value for value in given if id(value) in self._followed]
        if len(followed) != 1:
            return func(*args, **kwargs)
        (shared,) = followed
        others = [value for value in given if isinstance(value, Tensor) and value is not shared]
        if self._meets_examples(func, shared, given, others):
            spread = self._spread_of(shared, func.__name__)
            args = tuple(spread if value is shared else value for value in args)
            kwargs = {name: spread if v is shared else v for name, v in kwargs.items()}
            return func(*args, **kwargs)
        output = func(*args, **kwargs)
        if isinstance(output, Tensor) and not any(other.requires_grad for other in others):
            _, lookup, steps = self._followed[id(shared)]
            self._followed[id(output)] = output, lookup, steps + 1
        return output

    def _meets_examples(
        self,
        func: Callable[..., Any],
        shared: Tensor,
        given: Sequence[Any],
        others: Iterable[Tensor],
    ) -> bool:
        if shared.shape[:1] != (1,):
            return False
        if func is Tensor.expand:
            sizes = given[1] if isinstance(given[1], Sequence) else given[1:]
            return len(sizes) == shared.dim() and sizes[0] == self._size
        return func in _BROADCASTING and any(
            other.dim() == shared.dim() and other.shape[0] == self._size for other in others
        )

    def _spread_of(self, shared: Tensor, by: str) -> Tensor:
        """The same tensor each time, so that what comes back adds up."""
        _, lookup, steps = self._followed[id(shared)]
        lookup.routes.add((steps, by))
        if id(shared) not in self._spread:
            self._spread[id(shared)] = _Spread.apply(
                shared, self._size, lookup.take_in, self._counting
            )  # type: ignore[no-untyped-call]
        return self._spread[id(shared)]


class _Spread(torch.autograd.Function):
    """[1, ...] to [B, ...]."""

    @staticmethod
    def forward(
        ctx: Any,
        shared: Tensor,
        size: int,
        take_in: Callable[[Tensor, Tensor], None],
        counting: Counting,
    ) -> Tensor:
        ctx.shared, ctx.take_in, ctx.counting = shared, take_in, counting
        return shared.expand(size, *shared.shape[1:])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        # On the way to the rows their hook is passed, which is not to know.
        with ctx.counting.switched(False) as counts:
            if counts:
                ctx.take_in(ctx.shared, grad_output)
        return grad_output.sum(0, keepdim=True), None, None, None
