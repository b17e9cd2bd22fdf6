"""Tensors that hold less than their shape says, and are written out for whoever asks for more than they can tell."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from sprachbund.gradients.nested import with_each


class Unwritten(Tensor):
    """Stands for an ordinary tensor."""

    _written_out: Tensor | None

    @property
    def is_few(self) -> bool:
        """Whether what is held is what counts: nobody had it written out, and may have written into that."""
        return self._written_out is None

    @abstractmethod
    def all_tokens(self) -> Tensor:
        """The same as an ordinary tensor; the same one each time."""


def written_out(values: Tensor) -> Tensor:
    """The same numbers as an ordinary tensor."""
    return values.all_tokens() if isinstance(values, Unwritten) else values


def of_all_tokens(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """The function of whatever is written out."""
    args, kwargs = with_each(Unwritten, written_out, (args, kwargs))
    return func(*args, **kwargs)
