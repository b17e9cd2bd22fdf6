"""One forward and backward pass: which gradients are still expected, which have come, and what could not be read."""

from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sprachbund.errors import GradientError
from sprachbund.gradients.nested import tensors, with_each
from sprachbund.gradients.per_example import Consumer, PerExampleGradient, merge
from sprachbund.gradients.shared import Counting, Route, SharedResult, SharedValues
from sprachbund.gradients.sites import Site

_SHARED = "shared"


@dataclass
class Readings:
    """How modules have been read so far, in this pass and earlier ones: what is read otherwise needs a new proof."""

    kinds_of_rows: defaultdict[nn.Module, set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )
    routes: defaultdict[nn.Module, set[Route]] = field(default_factory=lambda: defaultdict(set))
    of_shared: defaultdict[nn.Module, set[tuple[str, ...]]] = field(
        default_factory=lambda: defaultdict(set)
    )
    """The kinds of calls in one pass of each module that was once called on what examples share."""
    tokens_read: dict[nn.Module, tuple[int, ...]] = field(default_factory=dict)
    """Of a linear map, where all examples have a gradient at few tokens, and at the same ones; none elsewhere."""

    def note_tokens(self, module: nn.Module, kept_BL: Tensor | None) -> None:
        """Those that a call had gradients at, if they were few."""
        are_same = kept_BL is not None and bool((kept_BL == kept_BL[:1]).all())
        found = tuple(kept_BL[0].tolist()) if kept_BL is not None and are_same else ()
        if self.tokens_read.setdefault(module, found) != found:
            self.tokens_read[module] = ()

    def few_read(self, module: nn.Module, input: Tensor, size: int) -> tuple[int, ...]:
        """The tokens that are read of this map of [B, T, I], in a batch of so many; none where they are not few."""
        tokens = self.tokens_read.get(module, ())
        is_by_token = input.dim() == 3 and len(input) == size
        # A batch of one is the proof of no other.
        if not (tokens and is_by_token and size > 1):
            return ()
        are_few = max(tokens) < input.shape[1] and 2 * len(tokens) <= input.shape[1]
        return tokens if are_few else ()

    def is_shared(self, module: nn.Module) -> bool:
        """Whether whatever this module was called on was shared."""
        return module in self.of_shared and not self.kinds_of_rows[module]

    def is_by_example(self, module: nn.Module) -> bool:
        """Whether whatever this module was called on was the examples'."""
        return bool(self.kinds_of_rows[module]) and module not in self.of_shared


@dataclass
class Pass:
    """One forward and backward: what is still expected, what has come."""

    batch_size: int
    consume: Consumer
    tokens: Set[int]
    readings: Readings
    shared: SharedValues
    """Follows what examples may share, in the forward pass."""
    counting: Counting
    expected: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    arrived: dict[str, list[PerExampleGradient]] = field(default_factory=lambda: defaultdict(list))
    not_per_example: set[str] = field(default_factory=set)
    is_irregular: bool = False
    consumed: set[str] = field(default_factory=set)
    looked_up: int | None = None
    """The rows of the last lookup in a table, of examples or of their choices."""
    is_expanded: bool = False
    """Whether rows that examples share were given to the model once for each."""
    is_deferred: bool = False
    """Whether the model was given what is computed for few tokens."""
    lent: list[Tensor] = field(default_factory=list)
    """Copies of such, in place of views, so far in the forward pass."""
    hooks: list[RemovableHandle] = field(default_factory=list)
    kinds: dict[nn.Module, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Of the calls so far in this pass."""

    @property
    def is_backward(self) -> bool:
        """Whether the backward pass of the losses runs, and not one that the model or the loss makes within."""
        return self.counting.is_on

    def note_rows(self, module: nn.Module, rows: int) -> None:
        """Rows that are neither an example's nor its tokens' may have been gathered from anywhere in the batch.

        So may those of a module that once got one kind and once another: as many as there are examples by chance.
        """
        if self.batch_size == 1:
            return  # whatever was gathered is of the one example
        kind = "gathered"
        if rows == self.batch_size:
            kind = "examples"
        elif rows % self.batch_size == 0 and rows // self.batch_size in self.tokens:
            kind = "tokens"
        self.kinds[module].append(kind)
        kinds = self.readings.kinds_of_rows[module]
        kinds.add(kind)
        self.is_irregular |= "gathered" in kinds or len(kinds) > 1

    def misfit(self, site: Site, output: Any, shared: SharedResult | None) -> Any:
        """The output of a call that is not by example; only a gradient that comes for it tells that it mattered."""

        def note(grad: Tensor) -> None:
            if not self.is_backward:
                return
            if shared is not None and (shared.is_shared or self.batch_size == 1):
                self.add_shared(site, shared, grad)
            elif bool(grad.any()):
                self.not_per_example.update(site.names.values())

        for name in site.names.values():
            # It comes only if it is read by example: else nothing is handed over before the end.
            self.expected[name] += 1
        output = with_each(Tensor, watchable, output)
        self.hooks += [
            leaf.register_hook(note)  # type: ignore[no-untyped-call]
            for leaf in tensors(output)
            if is_differentiable(leaf)
        ]
        if shared is not None:
            self.shared.watch(output, shared)
        return output

    def add(self, name: str, gradient: PerExampleGradient) -> None:
        self.arrived[name].append(gradient)
        self.expected[name] -= 1
        if self.expected[name] == 0:
            self._hand_over(name, self.arrived.pop(name))

    def add_shared(self, site: Site, shared: SharedResult, total: Tensor) -> None:
        """What the examples have sent back for what they share, if that is all of its gradient."""
        routes = shared.routes
        is_alone = self.batch_size == 1
        with torch.no_grad(), self.counting.switched(False):
            gradients = shared.gradients_of_one(total) if is_alone else shared.gradients(total)
        if gradients is None:
            self.not_per_example.update(site.names.values())
            return
        # On another way than before, an axis may only happen to be as long as the batch.
        known = self.readings.routes[site.module]
        self.is_irregular |= not routes <= known
        known |= routes
        if not is_alone:
            self.kinds[site.module].append(_SHARED)
        for local_name, name in site.names.items():
            self.add(name, gradients[local_name])

    def finish(self) -> None:
        """Calls whose output the loss does not depend on never report; the others still count."""
        for name, gradients in self.arrived.items():
            if name not in self.not_per_example:
                self._hand_over(name, gradients)
        for module, found in self.kinds.items():
            if _SHARED in found or module in self.readings.of_shared:
                kinds = tuple(sorted(found))
                self.is_irregular |= kinds not in self.readings.of_shared[module]
                self.readings.of_shared[module].add(kinds)

    def _hand_over(self, name: str, gradients: list[PerExampleGradient]) -> None:
        if name in self.consumed:
            raise came_twice([name])
        self.consumed.add(name)
        self.consume(name, merge(gradients))

    def forget(self) -> None:
        """Expect nothing any more; a hook on several tensors would keep their graph alive."""
        for hook in self.hooks:
            hook.remove()
        self.hooks.clear()
        self.expected.clear()
        self.lent.clear()
        self.shared.forget()


def came_twice(names: Iterable[str]) -> GradientError:
    """Of some parameters, whose first gradient has been used already."""
    return GradientError(
        f"the gradient of {', '.join(names)} came twice in one backward pass: leave it out with parameters="
    )


def is_differentiable(leaf: Tensor) -> bool:
    return leaf.is_floating_point()


def watchable(value: Tensor) -> Tensor:
    """The same numbers, with a gradient that comes from outside the module only: outputs may depend on each other."""
    if not value.is_floating_point():
        return value
    if value.requires_grad:
        return value.view_as(value)
    watched: Tensor = _Watched.apply(value, torch.zeros((), requires_grad=True))  # type: ignore[no-untyped-call]
    return watched


class _Watched(torch.autograd.Function):
    """The value itself, without a copy. The anchor requires a gradient, and gets none."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor, _anchor: Tensor) -> Tensor:
        # Neither a leaf nor a view, so the model may still write into it.
        apart: Tensor = torch.ops.aten._unsafe_view(value, value.shape)
        return apart

    @staticmethod
    def backward(_ctx: Any, _grad_output: Tensor) -> tuple[None, None]:
        return None, None
