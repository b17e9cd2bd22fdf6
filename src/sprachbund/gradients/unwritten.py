"""Tensors that hold less than their shape says, and are written out for whoever asks for more than they can tell."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from sprachbund.gradients.nested import with_each


class Unwritten(Tensor):
    """Stands for an ordinary tensor.

    Subclasses say what autograd is given of what they hold. For all else they are written out, and then what was
    written out counts.
    """

    _written_out: Tensor | None

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Whatever Python asks, and so not autograd: of views, too, which may be written into."""
        return of_all_tokens(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        made = cls._of_what_is_held(func, args, kwargs or {})
        return of_all_tokens(func, args, kwargs or {}) if made is None else made

    @classmethod
    @abstractmethod
    def _of_what_is_held(
        cls,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """The function, computed of what is held alone; None if it cannot be."""

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
