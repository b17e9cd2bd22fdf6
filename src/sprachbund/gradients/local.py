"""Modules without a rule of their own: a vector-Jacobian product of that one module, example by example.

Norms of every variant, experts, convolutions, whatever owns parameters: only the module's own forward is run again.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.utils._pytree import KeyPath, tree_flatten_with_path, tree_map, tree_map_with_path

from sprachbund.gradients.calls import Call
from sprachbund.gradients.nested import tensors
from sprachbund.gradients.per_example import DenseGradient, PerExampleGradient
from sprachbund.gradients.rules import Rule

_MISFITS = (RuntimeError, ValueError, TypeError, IndexError)


class UnsuitedError(Exception):
    """This module cannot be run again on the examples of one call; autograd must take the whole model."""


class LocalRule(Rule):
    """grad theta[n] = (d output[n] / d theta)^T g[n], by autograd through this module alone."""

    least_axes = 1

    def __init__(self) -> None:
        self._batched: bool | None = None
        self._shared: set[KeyPath] = set()
        self._met: set[KeyPath] | None = None

    def note_arguments(self, call: Call) -> bool:
        """A mask [T, T] that is first there in a batch of T examples, say, looks like one of each example."""
        paths, _ = tree_flatten_with_path((call.args, call.kwargs))
        given = {path for path, leaf in paths if isinstance(leaf, Tensor)}
        is_new = self._met is not None and not given <= self._met
        if call.batch_size > 1:  # of a single one whatever is there is its own
            self._met = given | (self._met or set())
        return is_new

    def per_example(
        self, call: Call, grad_outputs: tuple[Tensor, ...]
    ) -> dict[str, PerExampleGradient]:
        by_example = self._by_example(call)
        with _attributes_kept(call.module):
            if self._batched is None:
                self._batched = _allows_vectorising(call, by_example, grad_outputs)
            differentiate = _vectorised if self._batched else _one_by_one
            try:
                gradients = differentiate(call, by_example, grad_outputs)
            except _MISFITS as error:
                raise UnsuitedError from error
        return {name: DenseGradient(value) for name, value in gradients.items()}

    def _by_example(self, call: Call) -> Any:
        """Which arguments hold something of each example, in the arguments' own structure.

        What the examples once shared they always share: positions [T, ...] remain positions in a batch of T examples.
        Where it is the other way round, in the first batch, the proof finds it out.
        """
        arguments = (call.args, call.kwargs)
        self._shared |= {
            path
            for path, leaf in tree_flatten_with_path(arguments)[0]
            if isinstance(leaf, Tensor) and not call.is_by_example(leaf)
        }
        return tree_map_with_path(
            lambda path, leaf: call.is_by_example(leaf) and path not in self._shared, arguments
        )


@contextmanager
def _attributes_kept(module: nn.Module) -> Iterator[None]:
    """Older hooks (`prune`, `weight_norm`) set the weight that they compute on the module, at every call.

    Others keep what they last saw, as an attribute or a buffer, in modules within, too: what a rule's run has there is
    good for nothing outside it.
    """
    kept = [(part, dict(vars(part)), dict(part._buffers)) for part in module.modules()]
    try:
        yield
    finally:
        for part, attributes, buffers in kept:
            vars(part).update(attributes)
            for name, buffer in buffers.items():  # a scripted module's are no dict
                part._buffers[name] = buffer


def _own_parameters(call: Call) -> dict[str, Tensor]:
    held = dict(call.module.named_parameters(remove_duplicate=False))
    return {name: held[name].detach() for name in call.names}


def _differentiable(output: object) -> list[Tensor]:
    return [leaf for leaf in tensors(output) if leaf.is_floating_point()]


def _allows_vectorising(call: Call, by_example: Any, grad_outputs: tuple[Tensor, ...]) -> bool:
    """False for control flow that depends on data, such as a mixture of experts' routing, and where torch says slow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="There is a performance drop")
        try:
            _vectorised(call, by_example, grad_outputs)
        except (*_MISFITS, UserWarning):
            return False
    return True


def _vectorised(call: Call, by_example: Any, grad_outputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    parameters = _own_parameters(call)
    axes = tree_map(lambda each: 0 if each else None, by_example)
    batches = _with_batches(call, by_example)
    grads_by_example = [_as_batches(call, grad) for grad in grad_outputs]

    def one(example: Any, grads: list[Tensor]) -> dict[str, Tensor]:
        args, kwargs = example

        def outputs(values: dict[str, Tensor]) -> list[Tensor]:
            return _differentiable(functional_call(call.module, values, args, kwargs))

        pullback = vjp(outputs, parameters)[1]
        gradients: dict[str, Tensor] = pullback(grads)[0]
        return gradients

    result: dict[str, Tensor] = vmap(one, in_dims=(axes, 0))(batches, grads_by_example)
    return result


def _as_batches(call: Call, tensor: Tensor) -> Tensor:
    """Each example as a batch: of one, [B, 1, ...], or of its tokens where these share the first axis, [B, T, ...]."""
    return call.by_example(tensor) if call.is_folded(tensor) else tensor.unsqueeze(1)


def _with_batches(call: Call, by_example: Any) -> Any:
    """The arguments, those that hold something of each example as batches of one example."""
    return tree_map(
        lambda leaf, each: _as_batches(call, leaf) if each else leaf,
        (call.args, call.kwargs),
        by_example,
    )


def _one_by_one(call: Call, by_example: Any, grad_outputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    own = _own_parameters(call)
    # Written in place: experts' gradients, gathered in a list first, would be there twice.
    found = {name: value.new_empty(call.batch_size, *value.shape) for name, value in own.items()}
    batches = _with_batches(call, by_example)
    for position in range(call.batch_size):
        args, kwargs = tree_map(
            lambda leaf, each: leaf[position] if each else leaf,  # noqa: B023
            batches,
            by_example,
        )
        grads = [_as_batches(call, grad)[position] for grad in grad_outputs]
        with torch.enable_grad():
            parameters = {name: value.detach().requires_grad_() for name, value in own.items()}
            outputs = _differentiable(functional_call(call.module, parameters, args, kwargs))
            gradients = torch.autograd.grad(
                outputs, list(parameters.values()), grads, materialize_grads=True
            )
        for each, gradient in zip(found.values(), gradients, strict=True):
            each[position] = gradient
    return found
