"""Embeddings whose forward does more than look up what went in: scaling, positions counted from a mask, clamped ids."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sprachbund.gradients.calls import Call
from sprachbund.gradients.misfits import MISFITS, UnsuitedError
from sprachbund.gradients.per_example import PerExampleGradient, RowGradient
from sprachbund.gradients.rules import Rule

_LOOKUP = inspect.signature(F.embedding)


class LookupRule(Rule):
    """Row `ids[n, t]` of the table gets the gradient of what was looked up there.

    The module's own forward is run again, and its lookups are watched: which ids it came to, and what then became of
    their rows. The gradient of the whole table never exists. Uses of the table other than lookups the proof finds out.
    """

    def per_example(
        self, call: Call, grad_outputs: tuple[Tensor, ...]
    ) -> dict[str, PerExampleGradient]:
        module = call.module
        assert isinstance(module, nn.Embedding)
        lookups = _Lookups(module.weight)
        try:
            with torch.enable_grad(), lookups:
                output = module(*call.args, **call.kwargs)
                rows = [row for _, row, _ in lookups.found]
                gradients = torch.autograd.grad(
                    output, rows, grad_outputs[0].view(output.shape), materialize_grads=True
                )
        except MISFITS as error:
            raise UnsuitedError from error
        parts = [
            _by_example(call, ids, gradient, padding_idx)
            for (ids, _, padding_idx), gradient in zip(lookups.found, gradients, strict=True)
        ]
        if len({part.padding_idx for part in parts}) != 1:
            raise UnsuitedError
        return {"weight": parts[0] if len(parts) == 1 else RowGradient.merge(parts)}


class _Lookups(TorchFunctionMode):
    """Notes each lookup in a table inside: ids, the rows that were found, and the padding row."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self._table = table
        self.found: list[tuple[Tensor, Tensor, int | None]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is not F.embedding:
            return output
        asked = _LOOKUP.bind(*args, **(kwargs or {})).arguments
        if asked["weight"] is not self._table:
            return output
        rows = output.detach().requires_grad_()
        self.found.append((asked["input"], rows, asked.get("padding_idx")))
        return rows.clone()  # no leaf, so the module may write into it


def _by_example(call: Call, ids: Tensor, gradient: Tensor, padding_idx: int | None) -> RowGradient:
    if ids.dim() == 0 or ids.shape[0] not in (call.rows, call.batch_size):
        raise UnsuitedError  # examples share what was looked up
    module = call.module
    assert isinstance(module, nn.Embedding)
    table_rows, width = module.weight.shape
    if padding_idx is not None:
        padding_idx %= table_rows
    return RowGradient(
        ids.reshape(call.batch_size, -1),
        gradient.reshape(call.batch_size, -1, width),
        table_rows,
        padding_idx,
    )
