"""The engine: per-example gradients of every chosen parameter, proven against autograd before they are used.

Modules are read through hooks; parameters that a model uses outside their own module, or shares between examples, are
differentiated by autograd one example at a time: slower, and as exact.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType

import torch
from torch import Tensor, nn

from sprachbund.errors import GradientError, SprachbundWarning
from sprachbund.gradients.allocator import freed_memory_kept
from sprachbund.gradients.batches import Batch, batch_size, check_batch, example_alone
from sprachbund.gradients.capture import Capture
from sprachbund.gradients.losses import Loss, TaskLoss, check_losses
from sprachbund.gradients.model_state import evaluation_mode
from sprachbund.gradients.one_by_one import gradient_of_sum, gradients_one_by_one
from sprachbund.gradients.padding import padding_of, reached_padding
from sprachbund.gradients.parameters import (
    ParameterFilter,
    Selection,
    select_parameters,
)
from sprachbund.gradients.per_example import Consumer, PerExampleGradient
from sprachbund.gradients.proof import (
    Comparison,
    LossesAlone,
    compare_losses,
    few_of,
    few_positions,
    precision_of,
    prove_batch_independence,
    prove_own_loss,
    random_weights,
    shows_with_gradients,
    unrounded,
)
from sprachbund.gradients.sites import find_sites

_FLOAT16 = (
    "the model is in float16, in which products of small gradients vanish and those of large activations overflow: "
    "scores may be wrong. Load it in bfloat16 or float32"
)

_NO_GRADIENT = (
    "the loss of a batch depends on none of the attributed parameters (detached, computed under no_grad, or of other "
    "parameters): its gradients are zero"
)
_ENDS, _EXAMPLES_OF_OWN_LOSS = 2, 8
"""How many examples of a whole batch, from the first to the last, have their losses compared in any case."""


class GradientEngine:
    """Per-example gradients of a model's trainable parameters, as a context manager.

    While it is open the model is in evaluation mode with frozen parameters; on leaving, also by an exception, mode,
    requires_grad and hooks are as they were found.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: Loss | None = None,
        parameters: ParameterFilter | None = None,
    ) -> None:
        self.selection: Selection = select_parameters(model, parameters)
        self._model = model
        self._loss: Loss = loss or TaskLoss()
        self._default_loss = loss is None
        first = next(iter(self.selection.parameters.values()))
        self.device, self.dtype = first.device, first.dtype
        if self.dtype == torch.float16:
            warnings.warn(_FLOAT16, SprachbundWarning, stacklevel=2)
        self._proven: set[str] = set()
        self._proven_alone: set[str] = set()  # on copies of one example: enough for batches of one
        self._unnoticed = 0.0  # the norm of a gradient that the proof would not have missed
        self._is_proven = self._is_proven_on_several = self._is_proven_on_padding = False
        # Hooks of others on a parameter see the gradients of the batch's sum, or change them.
        self._by_autograd = {
            name for name, value in self.selection.parameters.items() if value._backward_hooks
        }
        # What counts as rounding is measured by the gradient with respect to these.
        self._whole = self.selection.parameters
        self._stack = ExitStack()

    def __enter__(self) -> "GradientEngine":
        if torch.is_inference_mode_enabled():
            raise GradientError("there are no gradients in torch.inference_mode: leave it first")
        self._stack.enter_context(freed_memory_kept())
        self._stack.enter_context(evaluation_mode(self._model))
        try:
            self._install()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._capture.__exit__(kind, value, traceback)
        self._stack.close()

    @contextmanager
    def narrowed(self, names: Set[str]) -> Iterator["GradientEngine"]:
        """In place of this engine, which rests inside, one that attributes these of its parameters alone.

        It proves itself anew, by the measure of the whole gradient; for all parameters it is this one.
        """
        if names == self.selection.parameters.keys():
            yield self
            return
        self._capture.__exit__(None, None, None)
        loss = None if self._default_loss else self._loss
        try:
            narrowed = GradientEngine(self._model, loss=loss, parameters=lambda name: name in names)
            narrowed._whole = self._whole
            with narrowed:
                yield narrowed
        finally:
            self._install()

    @property
    def parameters_by_autograd(self) -> tuple[str, ...]:
        """Names of the parameters that are differentiated one example at a time."""
        return tuple(name for name in self.selection.parameters if name in self._by_autograd)

    def calls(self, batch: Batch) -> dict[str, int]:
        """How many module calls of one example each captured parameter is in, from a forward pass of the batch's first.

        Layers that share a parameter add up their tokens, and so the bank's memory of it (`bank_nbytes`).
        """
        check_batch(batch)
        batch = {name: value.to(self.device) for name, value in batch.items()}
        alone = example_alone(self._model, batch, 0)
        return self._capture.calls(alone, lambda: self._loss(self._model, alone))

    def per_example(self, batch: Batch, consume: Consumer) -> Tensor:
        """Hand each parameter's per-example gradients to `consume(name, gradient)`; return losses [B].

        A parameter that the loss of this batch does not reach is not handed over: its gradient is zero.

        Raises: GradientError if the model's loss of an example depends on its batch, or gradients
            cannot be told apart by example.
        """
        check_batch(batch)
        size = batch_size(batch)
        if not size:
            return torch.zeros(0, device=self.device, dtype=self.dtype)
        batch = {name: value.to(self.device) for name, value in batch.items()}
        padding_BT = padding_of(batch)
        alone = LossesAlone(self._model, self._loss, batch)
        is_new = self._prove_what_is_new(alone, is_padded=padding_BT is not None)
        proven_here = self._proven_on(batch)
        proven, reached = self._proven | proven_here, set[str]()
        leaking_B = torch.zeros(size, dtype=torch.bool, device=self.device)

        def note(name: str, gradient: PerExampleGradient) -> None:
            nonlocal leaking_B
            if name not in proven and bool((gradient.squared_norm() > self._unnoticed**2).any()):
                reached.add(name)
            if padding_BT is not None:
                leaking_B |= reached_padding(gradient, padding_BT)
            consume(name, gradient)

        losses = self._pass(batch, note)
        if is_new and self._is_fine:
            # A loss that depends on the whole batch may not show with the proof's few.
            leaking_B[alone.known] = True
            count = _ENDS if self._default_loss else _EXAMPLES_OF_OWN_LOSS
            leaking_B[torch.linspace(0, size - 1, min(size, count)).round().long()] = True
        suspects = leaking_B.nonzero().flatten().tolist()
        alone.compare(losses[suspects], suspects, size)
        is_irregular = self._capture.is_irregular and size > 1
        if reached or is_irregular or self._capture.misshapen or self._capture.touched:
            # An expert or adapter that earlier batches never reached, or one that got a selection of the tokens,
            # which may come from any example: its turn to be proven. Or what could not be read, and what has its first
            # gradient elsewhere than in its module: no more than rounding, or an error.
            # What could not be read of a single example is told by that example alone.
            is_enough = size > 1 or self._capture.misshapen
            self._prove_again([batch if is_enough else few_of(batch)], proven_here)
            proven_here |= reached
        return losses

    @property
    def _is_fine(self) -> bool:
        """Whether losses have digits enough to compare them example by example, however small."""
        return precision_of(self._model) in (torch.float32, torch.float64)

    @property
    def _is_narrowed(self) -> bool:
        return self._whole is not self.selection.parameters

    def _install(self) -> None:
        rest = self._parameters(self.selection.parameters.keys() - self._by_autograd)
        sites = find_sites(self._model, rest)
        hooked = {name for site in sites for name in site.names.values()}
        self._by_autograd |= rest.keys() - hooked
        self._capture = Capture(self._model, sites)
        self._capture.__enter__()

    def _parameters(self, names: Iterable[str]) -> dict[str, nn.Parameter]:
        wanted = set(names)
        return {name: p for name, p in self.selection.parameters.items() if name in wanted}

    def _pass(self, batch: Batch, consume: Consumer) -> Tensor:
        known = self._proven | self._proven_alone | self._by_autograd
        unproven = self._parameters(self.selection.parameters.keys() - known)
        losses = self._capture.passing(batch, consume, lambda: self._checked_loss(batch), unproven)
        if not (self._capture.is_differentiable or self._by_autograd or self._is_narrowed):
            warnings.warn(_NO_GRADIENT, SprachbundWarning, stacklevel=4)
        for name, gradient in self._one_by_one(batch, losses).items():
            consume(name, gradient)
        return losses

    def _one_by_one(self, batch: Batch, together_B: Tensor) -> dict[str, PerExampleGradient]:
        """Of what is left to autograd; each example's loss must be the one that it has in the batch."""
        rest = self._parameters(self._by_autograd)
        if not rest:
            return {}
        alone = partial(example_alone, self._model)
        found, alone_B = gradients_one_by_one(
            self._checked_loss, alone, batch, rest, self.selection.tables
        )
        if self._is_fine:
            compare_losses(self._model, alone_B, together_B, len(together_B))
        return found

    def _checked_loss(self, batch: Batch) -> Tensor:
        losses = self._loss(self._model, batch)
        check_losses(losses, batch_size(batch))
        return losses

    def _prove_what_is_new(self, alone: LossesAlone, *, is_padded: bool) -> bool:
        """Prove on the first batch, and once more on the first with several examples and the first with padding.

        Returns: whether this batch is one of these.
        """
        batch = alone.batch
        is_several = batch_size(batch) > 1
        if not self._is_proven:
            self._prove(alone)
            self._is_proven = True
        elif (is_several and not self._is_proven_on_several) or (
            is_padded and not self._is_proven_on_padding
        ):
            prove_batch_independence(alone)
            self._prove_again(_orders_of_few(batch), self._proven_on(batch), alone)
        else:
            return False
        self._is_proven_on_several |= is_several
        self._is_proven_on_padding |= is_padded
        return True

    def _proven_on(self, batch: Batch) -> set[str]:
        """Where to note what this batch proves."""
        return self._proven if batch_size(batch) > 1 else self._proven_alone

    def _prove(self, alone: LossesAlone) -> None:
        """Compare one batch with autograd; what rules get wrong is left to autograd from then on."""
        first = alone.batch
        orders, proven = _orders_of_few(first), self._proven_on(first)
        prove_batch_independence(alone)
        if self._default_loss:
            prove_own_loss(alone, few_positions(first)[0])
        # What is left to autograd may have been what others were read by: until nothing is wrong.
        while wrong := self._disagreeing(orders, proven, alone) | self._capture.misshapen:
            if self._capture.stop_deferring():  # a model that writes into what is read of it
                continue
            self._by_autograd |= wrong
            self._capture.__exit__(None, None, None)
            self._install()
        if self._by_autograd:
            warnings.warn(_slow_path(self.parameters_by_autograd), SprachbundWarning, stacklevel=3)
        self._proven |= self._by_autograd

    def _prove_again(
        self, orders: Sequence[Batch], proven: set[str], alone: LossesAlone | None = None
    ) -> None:
        wrong = self._disagreeing(orders, proven, alone)
        if wrong:
            raise GradientError(_unprovable(wrong))

    def _disagreeing(
        self, orders: Sequence[Batch], proven: set[str], alone: LossesAlone | None
    ) -> set[str]:
        """Names of the captured parameters whose gradients do not add up to autograd's; the others are noted.

        `orders`: the same examples, once or in two orders; where these are the few of a batch that is `alone`'s, their
        losses are compared with those, too.
        """
        weight_B = random_weights(batch_size(orders[0]), self.device)
        captured = self.selection.parameters.keys() - self._by_autograd
        precision, passes = precision_of(self._model), len(orders)
        with unrounded():
            expected, together_B = gradient_of_sum(
                self._checked_loss, orders[0], self._whole, weight_B
            )
        if alone is not None and shows_with_gradients(alone.batch):
            alone.compare(together_B, few_positions(alone.batch), len(together_B))
        with unrounded():
            comparison = Comparison(expected, captured, precision, passes)
            del expected
            for batch, weights in zip(orders, (weight_B, weight_B.flip(0)), strict=False):
                take_away = partial(comparison.take_away, weights)
                self._capture.passing(batch, take_away, partial(self._checked_loss, batch), {})
                comparison.finish_pass()
        proven |= comparison.found - comparison.wrong
        self._unnoticed = max(self._unnoticed, comparison.unnoticed)
        return comparison.wrong


def _orders_of_few(batch: Batch) -> list[Batch]:
    """A few examples in both orders; of a single one and its copy there is one."""
    both = (False, True) if batch_size(batch) > 1 else (False,)
    return [few_of(batch, last_first=last_first) for last_first in both]


def _listed(names: Set[str] | tuple[str, ...]) -> str:
    shown = sorted(names)[:5]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(shown) + more


def _slow_path(names: tuple[str, ...]) -> str:
    return (
        f"{len(names)} parameters are used outside their own module, or by several examples at once, or have hooks, "
        f"and are differentiated one example at a time, exactly but slowly: {_listed(names)}"
    )


def _unprovable(names: Set[str]) -> str:
    return (
        f"per-example gradients of {_listed(names)} do not add up to autograd's gradient of the same loss: "
        "their scores would be wrong. Leave these parameters out with parameters=, or use smaller batches"
    )
