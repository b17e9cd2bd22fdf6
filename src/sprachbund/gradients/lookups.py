"""The lookups in a table that a module's own forward makes, whatever it does before and after them."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_LOOKUP = inspect.signature(F.embedding)

OnLookup = Callable[[Tensor, Tensor, int | None], Tensor]
"""Receives ids [...], their rows [..., D] and which row gets no gradient; returns what takes the rows' place."""


class Lookups(TorchFunctionMode):
    """Inside, every lookup in this module's table goes through `on_lookup`.

    But for those that change the table or its gradient (`max_norm`, `scale_grad_by_freq`): these autograd sees.
    """

    def __init__(self, module: nn.Embedding, on_lookup: OnLookup) -> None:
        super().__init__()
        self._table, self._on_lookup = module.weight, on_lookup

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is not F.embedding:
            return func(*args, **(kwargs or {}))
        asked = _LOOKUP.bind(*args, **(kwargs or {}))
        asked.apply_defaults()
        given = asked.arguments
        is_plain = given["max_norm"] is None and not given["scale_grad_by_freq"]
        if given["weight"] is not self._table or not is_plain:
            return func(*args, **(kwargs or {}))
        # The gradient of its rows is all that is asked.
        table = given["weight"] = self._table.detach()
        # The call's: the module's own need not have been passed on.
        padding_idx = given["padding_idx"]
        if padding_idx is not None and padding_idx < 0:
            padding_idx += len(table)
        output = func(*asked.args, **asked.kwargs)
        return self._on_lookup(given["input"], output, padding_idx)
