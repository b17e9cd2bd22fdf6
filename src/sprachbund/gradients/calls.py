"""A call of a module as the rules see it: what went in, with the examples along the first axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from sprachbund.gradients.nested import tensors


@dataclass(frozen=True)
class Call:
    """One call of `module` in a batch of `batch_size` examples.

    `rows` is the length of the first axis of the input: the batch size, or a multiple of it where the model has folded
    tokens into that axis, as mixtures of experts do. The proof finds out where this reading is wrong, on every batch
    anew where the multiple is not the number of an example's tokens.
    """

    module: nn.Module
    names: tuple[str, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    batch_size: int
    rows: int
    kept: tuple[Tensor, ...] = ()
    """What the module's rule keeps of the forward pass besides."""

    @property
    def input(self) -> Tensor:
        """The first tensor that went in, [B, ...]."""
        return self.by_example(first_tensor(self.args, self.kwargs))

    def is_folded(self, tensor: Tensor) -> bool:
        """Whether tokens share the first axis with the examples."""
        return tensor.shape[0] != self.batch_size

    def by_example(self, tensor: Tensor) -> Tensor:
        """[B, ...] as it is; [B*T, ...], where tokens were folded in, as [B, T, ...]."""
        if not self.is_folded(tensor):
            return tensor
        return tensor.reshape(self.batch_size, -1, *tensor.shape[1:])

    def is_by_example(self, leaf: object) -> bool:
        """Whether an argument holds something of each example."""
        return isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.shape[0] == self.rows


def first_tensor(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Raises: StopIteration if nothing that went in is a tensor."""
    return next(tensors((args, kwargs)))


def holds_examples(input: Tensor, results: Sequence[Tensor], size: int, least_axes: int) -> bool:
    """Whether the first axis of what goes in and of all that comes out holds the examples, alone or with tokens."""
    return (
        input.dim() >= least_axes
        and input.shape[0] > 0
        and input.shape[0] % size == 0
        and bool(results)
        and all(result.dim() > 0 and result.shape[0] > 0 for result in results)
        and all(result.shape[0] % size == 0 for result in results)
    )
