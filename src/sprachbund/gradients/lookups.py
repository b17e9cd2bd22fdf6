"""The lookups in a table that a module's own forward makes, whatever it does before and after them."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_LOOKUP = inspect.signature(F.embedding)

OnLookup = Callable[[Tensor, Tensor], Tensor]
"""Receives ids [...] and their rows [..., D]; returns what takes the rows' place."""


class Lookups(TorchFunctionMode):
    """Inside, every lookup in this module's table goes through `on_lookup`."""

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
        if asked.arguments["weight"] is not self._table:
            return func(*args, **(kwargs or {}))
        asked.arguments["weight"] = (
            self._table.detach()
        )  # the gradient of its rows is all that is asked
        output = func(*asked.args, **asked.kwargs)
        return self._on_lookup(asked.arguments["input"], output)
