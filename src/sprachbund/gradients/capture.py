"""Capture: hooks that turn one forward and backward pass into per-example gradients, parameter by parameter.

Parameters are frozen while hooks are in place, so only the gradients of activations flow and no `.grad` is computed;
each module's per-example gradient takes the place of its weight gradient.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sprachbund.gradients.parameters import owners
from sprachbund.gradients.per_example import PerExampleGradient, merge
from sprachbund.gradients.rules import Rule

Consumer = Callable[[str, PerExampleGradient], None]


@dataclass(frozen=True)
class Site:
    """A module whose rule yields gradients of wanted parameters: {local name: parameter name}."""

    module: nn.Module
    rule: Rule
    names: Mapping[str, str]


def find_sites(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> tuple[Site, ...]:
    """The modules to watch. A parameter held by any module without a rule is in no site."""
    name_of = {parameter: name for name, parameter in parameters.items()}
    held: dict[nn.Module, dict[str, str]] = defaultdict(dict)
    types: dict[str, set[type[Rule]]] = defaultdict(set)
    without_rule: set[str] = set()
    for module, local_name, parameter in owners(model):
        if parameter not in name_of:
            continue
        name = name_of[parameter]
        rule = Rule.find(module)
        if rule is None:
            without_rule.add(name)
        else:
            held[module][local_name] = name
            types[name].add(type(rule))
    # An embedding tied to a linear layer mixes sparse rows with outer products: left to autograd.
    without_rule |= {name for name, rules in types.items() if len(rules) > 1}
    sites = []
    for module, names in held.items():
        rule = Rule.find(module)
        names = {local: name for local, name in names.items() if name not in without_rule}
        if rule is not None and names:
            sites.append(Site(module, rule, names))
    return tuple(sites)


@dataclass
class _Pass:
    """One forward and backward: what is still expected, what has come."""

    batch_size: int
    consume: Consumer
    expected: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    arrived: dict[str, list[PerExampleGradient]] = field(default_factory=lambda: defaultdict(list))
    not_per_example: set[str] = field(default_factory=set)

    def add(self, name: str, gradient: PerExampleGradient) -> None:
        self.arrived[name].append(gradient)
        self.expected[name] -= 1
        if self.expected[name] == 0:
            self.consume(name, merge(self.arrived.pop(name)))

    def finish(self) -> None:
        """Calls whose output the loss does not depend on never report; the others still count."""
        for name in list(self.arrived):
            self.consume(name, merge(self.arrived.pop(name)))


class Capture:
    """Context in which `passing` yields per-example gradients of the sites' parameters.

    On exit the model is as it was found: hooks gone, requires_grad and training mode of every module restored.
    """

    def __init__(self, model: nn.Module, sites: tuple[Site, ...]) -> None:
        self._model = model
        self._sites = sites
        self._pass: _Pass | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "Capture":
        with ExitStack() as stack:
            stack.enter_context(evaluation_mode(self._model))
            stack.enter_context(frozen(self._model))
            for site in self._sites:
                stack.callback(self._watch(site).remove)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def passing(self, batch_size: int, consume: Consumer, losses: Callable[[], Tensor]) -> Tensor:
        """Run `losses()` -> [B] and its backward; hand over each parameter's gradient once whole.

        Returns the losses, detached. `consume` is called at most once for each parameter; a parameter that the loss
        does not reach is never handed over. `misshapen` names those that were not batch first.
        """
        self._pass = _Pass(batch_size, consume)
        try:
            with torch.enable_grad():
                value = losses()
                if value.requires_grad:
                    torch.autograd.backward(value.sum())
            self._pass.finish()
            self.misshapen = frozenset(self._pass.not_per_example)
        finally:
            self._pass = None
        return value.detach()

    def _watch(self, site: Site) -> RemovableHandle:
        return site.module.register_forward_hook(partial(self._forward, site), with_kwargs=True)

    def _forward(
        self,
        site: Site,
        _module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Tensor,
    ) -> Tensor | None:
        current = self._pass
        if current is None or not torch.is_grad_enabled():
            return None
        input = (args[0] if args else next(iter(kwargs.values()))).detach()
        size = current.batch_size
        if input.shape[0] == 1 and size > 1:
            # Position ids are often [1, T] and broadcast later: expanded here, the gradient of
            # the output keeps its examples apart.
            input, output = (
                input.expand(size, *input.shape[1:]),
                output.expand(size, *output.shape[1:]),
            )
        if input.shape[0] != size:
            current.not_per_example.update(site.names.values())
            return None
        if not output.requires_grad:
            # The clone is no leaf, so the model may still write into it.
            output = output.detach().requires_grad_().clone()
        for name in site.names.values():
            current.expected[name] += 1
        output.register_hook(partial(self._backward, site, input))  # type: ignore[no-untyped-call]
        return output

    def _backward(self, site: Site, input: Tensor, grad_output: Tensor) -> None:
        current = self._pass
        assert current is not None
        with torch.no_grad():
            gradients = site.rule.per_example(site.module, input, grad_output)
            for local_name, name in site.names.items():
                current.add(name, gradients[local_name])


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Dropout off and batch statistics fixed; each module's own mode comes back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter requires a gradient inside."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, requires_grad in flags:
            parameter.requires_grad_(requires_grad)
