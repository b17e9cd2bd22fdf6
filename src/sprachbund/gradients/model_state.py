"""The state of a model while it is attributed: nothing random in it, nothing that learns; as it was afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

_VANISHING = 1e-17  # the square of a smaller number is none in float32


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Dropout off, batch statistics fixed, nothing cached for tokens to come; each module's own mode comes back.

    A cache that a module writes into would hold the first run's tokens when a rule runs the module again. PyTorch's
    fast path of `nn.TransformerEncoder`, which it takes where nothing below requires a gradient, packs the tokens into
    nested tensors, of which no gradient comes by example.
    """
    modes = [(module, module.training) for module in model.modules()]
    caching = _configurations_that_cache(model)
    takes_fast_path = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    for configuration in caching:
        configuration.use_cache = False
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(takes_fast_path)
        for module, training in modes:
            module.training = training
        for configuration in caching:
            configuration.use_cache = True


def _configurations_that_cache(model: nn.Module) -> list[Any]:
    """Those, of the model and of its parts, by which it keeps keys, values and states."""
    found = (getattr(module, "config", None) for module in model.modules())
    by_identity = {id(configuration): configuration for configuration in found}
    return [c for c in by_identity.values() if getattr(c, "use_cache", False) is True]


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


@contextmanager
def noticed(parameters: Mapping[str, nn.Parameter]) -> Iterator[set[str]]:
    """Filled on leaving: names of the frozen parameters that a backward pass inside has a gradient for.

    Their own `.grad` stays as it is, and what others do once it is there (an optimizer's step) does not happen.
    """
    touched: set[str] = set()
    grads = {name: parameter.grad for name, parameter in parameters.items()}
    with ExitStack() as stack:
        for parameter in parameters.values():
            stack.enter_context(_without_hooks(parameter))
        try:
            for parameter in parameters.values():
                parameter.grad = None
                parameter.requires_grad_(True)
            yield touched
            touched |= {
                name
                for name, parameter in parameters.items()
                if parameter.grad is not None and float(parameter.grad.norm()) > _VANISHING
            }
        finally:
            for name, parameter in parameters.items():
                parameter.grad = grads[name]
                parameter.requires_grad_(False)


@contextmanager
def _without_hooks(parameter: nn.Parameter) -> Iterator[None]:
    hooks = parameter._post_accumulate_grad_hooks
    if not hooks:
        yield
        return
    kept = dict(hooks)
    hooks.clear()
    try:
        yield
    finally:
        hooks.update(kept)
