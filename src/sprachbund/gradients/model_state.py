"""The state of a model while it is attributed: nothing random in it, nothing that learns; as it was afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn


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


@contextmanager
def noticed(parameters: Mapping[str, nn.Parameter]) -> Iterator[set[str]]:
    """Filled on leaving: names of the frozen parameters that a backward pass inside has a gradient for.

    Their own `.grad` stays as it is.
    """
    touched: set[str] = set()
    kept = {name: parameter.grad for name, parameter in parameters.items()}
    try:
        for parameter in parameters.values():
            parameter.grad = None
            parameter.requires_grad_(True)
        yield touched
        touched |= {
            name
            for name, parameter in parameters.items()
            if parameter.grad is not None and bool(parameter.grad.any())
        }
    finally:
        for name, parameter in parameters.items():
            parameter.grad = kept[name]
            parameter.requires_grad_(False)
