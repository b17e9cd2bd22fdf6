"""Capture: hooks that turn one forward and backward pass into per-example gradients, parameter by parameter.

Parameters are frozen while hooks are in place, so only the gradients of activations flow and no `.grad` is computed;
each module's per-example gradient takes the place of its weight gradient.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sprachbund.errors import GradientError
from sprachbund.gradients.batches import Batch, batch_size
from sprachbund.gradients.calls import Call, holds_examples
from sprachbund.gradients.deferred import TokensRead
from sprachbund.gradients.local import UnsuitedError
from sprachbund.gradients.lookups import Lookups
from sprachbund.gradients.model_state import evaluation_mode, frozen, noticed
from sprachbund.gradients.nested import tensors, with_each
from sprachbund.gradients.one_pass import Pass, Readings, came_twice, is_differentiable, watchable
from sprachbund.gradients.per_example import Consumer, PerExampleGradient
from sprachbund.gradients.rules import EmbeddingRule, LinearRule, LookupRule
from sprachbund.gradients.shared import Counting, NotFollowedError, SharedResult, SharedValues
from sprachbund.gradients.shared_calls import result_of_call, result_of_reading, tables_to_read
from sprachbund.gradients.sites import Site, used_by_hidden
from sprachbund.gradients.tracked_linear import TrackedLinear, forward_replaced
from sprachbund.gradients.unwritten import written_out


class Capture:
    """Context in which `passing` yields per-example gradients of the sites' parameters.

    On exit the model is as it was found: hooks gone, requires_grad and training mode of every module restored.
    """

    def __init__(self, model: nn.Module, sites: tuple[Site, ...]) -> None:
        self._model = model
        self._sites = sites
        self._pass: Pass | None = None
        self._readings = Readings()
        self._tables = tables_to_read(sites)
        self._hidden = used_by_hidden(sites)
        self.misshapen: frozenset[str] = frozenset()
        self.touched: frozenset[str] = frozenset()
        self.is_irregular = False
        self.is_differentiable = True
        self._expands = self._defers = self._follows = True
        self._has_deferred = False
        self._stack = ExitStack()

    def __enter__(self) -> "Capture":
        with ExitStack() as stack:
            stack.enter_context(evaluation_mode(self._model))
            stack.enter_context(frozen(self._model))
            for site in self._sites:
                stack.enter_context(self._watch(site))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def passing(
        self,
        batch: Batch,
        consume: Consumer,
        losses: Callable[[], Tensor],
        unproven: Mapping[str, nn.Parameter],
    ) -> Tensor:
        """Run `losses()` -> [B] and its backward; hand over each parameter's gradient once whole.

        Returns the losses, detached. `consume` is called at most once for each parameter; a parameter that the loss
        does not reach is never handed over. `misshapen` names those that were not batch first, `touched` those of the
        `unproven` that autograd has a gradient for, by their module or not, and of the matrices that it has one for
        by anything but their module; `is_irregular` tells that a module got neither one row nor all tokens of each
        example, or arguments that it never got: this batch needs a proof of its own; `is_differentiable`, that the
        losses depend on something that is watched.
        """
        with (
            noticed({**self._hidden, **unproven}) as touched,
            self._observed(batch, consume) as current,
        ):
            value = self._forward_pass(current, losses)
            self.is_differentiable = value.requires_grad
            if value.requires_grad:
                with current.counting.switched(True):
                    torch.autograd.backward(value.sum())
            current.finish()
        self.touched = frozenset(touched)
        self.misshapen = frozenset(current.not_per_example)
        self.is_irregular = current.is_irregular
        self._has_deferred = current.is_deferred
        return value.detach()

    def stop_deferring(self) -> bool:
        """Compute all tokens from now on; whether the last pass did not."""
        did, self._defers = self._defers and self._has_deferred, False
        return did

    def calls(self, batch: Batch, losses: Callable[[], Tensor]) -> dict[str, int]:
        """How many calls of modules each parameter is in, in one forward pass: shared layers have several."""
        with self._observed(batch, _unused) as current:
            self._forward_pass(current, losses)
            return dict(current.expected)

    def _forward_pass(self, current: Pass, losses: Callable[[], Tensor]) -> Tensor:
        """Once more where the model does not bear what it was given in place of ordinary tensors.

        Rows that its examples share come once for each: a model that repeats them itself, a learned prompt, fails. So
        may one that does with deferred tokens what only tensors in memory allow.
        """
        while True:
            try:
                with current.shared if self._follows else nullcontext():
                    found = losses()
                    self._follows = current.shared.is_needed
                current.lent.clear()
                return found
            except NotFollowedError:
                self._follows = True
            except Exception:
                if current.is_deferred:
                    self._defers = current.is_deferred = False
                elif current.is_expanded:
                    self._expands = current.is_expanded = False
                else:
                    raise
            current.forget()

    @contextmanager
    def _observed(self, batch: Batch, consume: Consumer) -> Iterator[Pass]:
        """What the model computes inside is watched, as one pass."""
        size, counting = batch_size(batch), Counting()
        shared = SharedValues(size, counting, self._tables.keys(), self._read)
        current = self._pass = Pass(
            size, consume, _tokens_of_an_example(batch), self._readings, shared, counting
        )
        try:
            with torch.enable_grad():
                yield current
        finally:
            self._pass = None
            current.forget()

    @contextmanager
    def _watch(self, site: Site) -> Iterator[None]:
        if isinstance(site.rule, LinearRule) and site.is_hidden:
            with forward_replaced(site.module, partial(self._linear, site)):
                yield
            return
        if isinstance(site.rule, LookupRule) and site.is_hidden:
            looking_up = partial(self._looking_up, site, site.module.forward)
            with forward_replaced(site.module, looking_up):
                yield
            return
        hook, module = partial(self._forward, site), site.module
        with ExitStack() as stack:
            if isinstance(module, nn.Embedding) and site.is_hidden:
                stack.enter_context(forward_replaced(module, partial(self._embedding, module)))
            handle = module.register_forward_hook(hook, with_kwargs=True)
            stack.callback(handle.remove)
            yield

    def _linear(self, site: Site, input: Tensor) -> Tensor:
        current, module = self._pass, site.module
        assert isinstance(module, nn.Linear)
        if current is None or not torch.is_grad_enabled():
            return F.linear(input, module.weight, module.bias)
        if not input.numel():  # an adapter or expert that no example is for
            return F.linear(input, module.weight, module.bias)
        shared = self._shared(site, input, {})
        fits = holds_examples(input, [input], current.batch_size, site.rule.least_axes)
        if not fits or (shared is not None and shared.is_certain):
            weight: Tensor = module.weight
            bias: Tensor | None = module.bias
            if shared is not None:  # autograd is not to see them: what they get comes by example
                weight, bias = weight.detach(), None if bias is None else bias.detach()
            misfit: Tensor = current.misfit(site, F.linear(input, weight, bias), shared)
            return misfit
        _refuse_transforms(input)
        for name in site.names.values():
            current.expected[name] += 1
        rows = input.shape[0]  # the input itself would be kept for the whole backward pass

        def arrive(gradients: dict[str, PerExampleGradient], kept_BL: Tensor | None) -> bool:
            if not current.is_backward:
                return False
            current.note_rows(module, rows)
            current.readings.note_tokens(module, kept_BL)
            for local_name, name in site.names.items():
                current.add(name, gradients[local_name])
            return True

        anchor = torch.zeros((), requires_grad=True)
        read, size = self._tokens_read(module, input), current.batch_size
        tracked: Tensor = TrackedLinear.apply(input, anchor, module, size, arrive, read)  # type: ignore[no-untyped-call]
        return tracked

    def _tokens_read(self, module: nn.Module, input: Tensor) -> TokensRead | None:
        """Those of [B, T, I] to compute now, where few are read: by what the gradients of earlier passes showed."""
        current = self._pass
        assert current is not None
        tokens = self._readings.few_read(module, input, current.batch_size)
        if not (self._defers and tokens):
            return None
        current.is_deferred = True
        return TokensRead(torch.tensor(tokens, device=input.device), current.lent)

    def _embedding(self, module: nn.Embedding, input: Tensor) -> Tensor:
        table = module.weight if self._pass is None else module.weight.detach()
        return F.embedding(input, table, module.padding_idx)

    def _looking_up(
        self, site: Site, forward: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        if self._pass is None:
            return forward(*args, **kwargs)

        def looked_up(ids: Tensor, rows: Tensor, padding_idx: int | None) -> Tensor:
            given = {"padding_idx": padding_idx}
            watched = self._forward(site, site.module, (ids,), given, rows)
            return rows if watched is None else watched

        assert isinstance(site.module, nn.Embedding)
        with Lookups(site.module, looked_up):
            return forward(*args, **kwargs)

    def _forward(
        self,
        site: Site,
        _module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
    ) -> Any:
        current = self._pass
        if current is None or not torch.is_grad_enabled():
            return None
        given = next(tensors((args, kwargs)), None)
        args, kwargs = with_each(Tensor, Tensor.detach, (args, kwargs))
        input = next(tensors((args, kwargs)), None)
        size = current.batch_size
        expands = self._expands and size > 1 and isinstance(site.rule, EmbeddingRule)
        if expands and input is not None and input.shape[:1] == (1,):
            current.is_expanded = True
            # Position ids are often [1, T] and broadcast later: expanded here, the gradient of the output keeps its
            # examples apart; to as many rows as tokens were looked up for, where choices are rows, too.
            rows = current.looked_up or size
            input, output = (value.expand(rows, *value.shape[1:]) for value in (input, output))
            args, kwargs = (input,), {k: v for k, v in kwargs.items() if not isinstance(v, Tensor)}
            given = None
        results = list(filter(is_differentiable, tensors(output)))
        if input is not None and not input.numel():  # an adapter or expert that no example is for
            return None
        shared = self._shared(site, given, kwargs)
        if input is None or not holds_examples(input, results, size, site.rule.least_axes):
            return current.misfit(site, output, shared)
        _refuse_transforms(input)
        kept = site.rule.kept(results[0])
        call = Call(site.module, tuple(site.names), args, kwargs, size, input.shape[0], kept)
        current.is_irregular |= site.rule.note_arguments(call)
        if len(results) > 1 or not results[0].requires_grad:
            output = with_each(Tensor, watchable, output)
            results = list(filter(is_differentiable, tensors(output)))
        if isinstance(site.rule, EmbeddingRule):
            current.looked_up = input.shape[0]
            assert isinstance(site.module, nn.Embedding)
            current.shared.look_up(site.module.weight)
        for name in site.names.values():
            current.expected[name] += 1
        run = partial(self._backward, site, [call], shared)
        current.hooks.append(self._on_gradients(results, run))
        if shared is not None:
            current.shared.watch(results[0], shared)
        return output

    def _shared(
        self, site: Site, input: Tensor | None, kwargs: dict[str, Any]
    ) -> SharedResult | None:
        current = self._pass
        if current is None or input is None:
            return None
        if isinstance(site.rule, EmbeddingRule) and self._readings.is_by_example(site.module):
            return None
        parent, size = current.shared.result_of(input), current.batch_size
        is_certain = self._readings.is_shared(site.module)
        return result_of_call(site, input, kwargs, size, parent, is_certain=is_certain)

    def _read(self, table: Tensor) -> Tensor:
        assert self._pass is not None
        site, shared = self._tables[id(table)], result_of_reading(table)
        values: Tensor = self._pass.misfit(site, table.detach(), shared)
        return values

    @staticmethod
    def _on_gradients(results: list[Tensor], run: Callable[..., None]) -> RemovableHandle:
        """Call `run` with the gradients of all results, once all that the loss depends on have come."""
        if len(results) == 1:
            handle: RemovableHandle = results[0].register_hook(run)  # type: ignore[no-untyped-call]
            return handle

        def complete(grads: Sequence[Tensor | None]) -> None:
            run(
                *(
                    torch.zeros_like(result) if grad is None else grad
                    for result, grad in zip(results, grads, strict=True)
                )
            )

        return torch.autograd.graph.register_multi_grad_hook(results, complete)

    def _backward(
        self,
        site: Site,
        waiting: list[Call],
        shared: SharedResult | None,
        *grad_outputs: Tensor,
    ) -> None:
        current = self._pass
        assert current is not None
        if not current.is_backward:
            return
        if not waiting:
            raise came_twice(site.names.values())
        if not site.rule.takes_few:
            grad_outputs = tuple(map(written_out, grad_outputs))
        call = waiting.pop()  # what went in is free as soon as it is used
        if shared is not None:
            if shared.is_shared:
                current.add_shared(site, shared, grad_outputs[0])
                return
            shared.forget()
        self._pass = None  # the rule may run the module again, unobserved
        current.note_rows(site.module, call.rows)
        try:
            with torch.no_grad():
                gradients = site.rule.per_example(call, grad_outputs)
                for local_name, name in site.names.items():
                    current.add(name, gradients[local_name])
        except UnsuitedError:
            current.not_per_example.update(site.names.values())
        finally:
            self._pass = current


def _unused(_name: str, _gradient: PerExampleGradient) -> None:
    """Consumes nothing: no gradient comes without a backward pass."""


def _tokens_of_an_example(batch: Batch) -> frozenset[int]:
    """How many tokens an example of the batch may have: those of a text, or of all of its texts (multiple choice)."""
    return frozenset(
        math.prod(value.shape[1:stop])
        for value in batch.values()
        for stop in range(2, value.dim() + 1)
    )


def _refuse_transforms(input: Tensor) -> None:
    if torch._C._functorch.is_functorch_wrapped_tensor(input):
        raise GradientError(
            "the model runs under a transform of torch.func (vmap, grad, jvp), in which its modules' gradients cannot "
            "be read: write the loss without it, for a batch of examples at once"
        )
    if torch.is_autocast_enabled(input.device.type):
        raise GradientError(
            "the model runs under autocast, in which weights and gradients have types of their own: leave autocast "
            "off, or load the model in bfloat16"
        )
