"""Several passes over the training set, where the test examples' gradients do not fit the memory at once.

Inner products add up over parameters, so that a pass may as well score all test examples by some of the parameters as
some of them by all. The former is cheaper: nothing is propagated back below the parameters of a pass, and no gradient
of the others is formed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sprachbund.errors import ConfigurationError
from sprachbund.gradients.memory import BankDtype, parameter_nbytes, readable
from sprachbund.gradients.parameters import Selection
from sprachbund.gradients.scoring import BatchScores


@dataclass(frozen=True)
class Portion:
    """What one pass over the training set scores: these of the test examples, by these parameters."""

    tests: slice
    parameters: frozenset[str]
    nbytes: int
    """What their gradients take, at most."""

    @property
    def is_of_first_block(self) -> bool:
        """Whether it is of the first test examples; each block of them meets every training example by itself."""
        return int(self.tests.start) == 0


@dataclass(frozen=True)
class Work:
    """How many examples are to be scored, and how many tokens the longest test example has."""

    train: int
    tests: int
    tokens: int


def portions_within(
    nbytes: int,
    selection: Selection,
    work: Work,
    bank_dtype: BankDtype = "float32",
    calls: Mapping[str, int] | None = None,
) -> tuple[Portion, ...]:
    """The portions that fit into `nbytes` and take least time together, block by block of the test examples.

    Counted in epochs: the forward pass is a third of one, the backward pass through activations a third where it
    reaches the bottom, forming gradients a third for all parameters. So g passes by g equal groups of successive
    parameters take g / 3 + (g + 1) / 6 + 1 / 3 = (g + 1) / 2 epochs, for each of the blocks over the training
    examples, once over the test examples.

    Args:
        calls: as for `bank_nbytes`.

    Raises: ConfigurationError if the gradients of one test example by one parameter do not fit.
    """
    best: tuple[float, tuple[Portion, ...]] | None = None
    for blocks in range(1, work.tests + 1):
        size = math.ceil(work.tests / blocks)
        each = {
            name: parameter_nbytes(selection, name, work.tokens, size, bank_dtype, calls)
            for name in selection.parameters
        }
        groups = _groups(each, nbytes)
        if groups is None:
            continue
        epochs = (len(groups) + 1) / 2 * (blocks * work.train + work.tests)
        if best is None or epochs < best[0]:
            spans = [slice(i, min(i + size, work.tests)) for i in range(0, work.tests, size)]
            best = epochs, tuple(Portion(span, *group) for span in spans for group in groups)
        if len(groups) == 1:
            break
    if best is None:
        largest = max(
            parameter_nbytes(selection, name, work.tokens, 1, bank_dtype, calls)
            for name in selection.parameters
        )
        raise ConfigurationError(
            f"the memory for test gradients is {readable(nbytes)}, but those of one test example for one parameter "
            f"take {readable(largest)}: raise attribution.memory, or attribute fewer parameters"
        )
    return best[1]


@dataclass(frozen=True)
class Sums:
    """What portions add up to: inner products [M, N], and the training gradients' squared norms [N], float64."""

    dot_MN: Tensor
    squares_N: Tensor

    @classmethod
    def zeros(cls, tests: int, train: int) -> "Sums":
        dtype = torch.float64
        return cls(torch.zeros(tests, train, dtype=dtype), torch.zeros(train, dtype=dtype))

    def add(self, portion: Portion, scores: BatchScores, tests: slice | list[int]) -> None:
        """Add a pass's scores of test examples at these positions."""
        self.dot_MN[tests] += scores.dot_MB
        if portion.is_of_first_block:
            self.squares_N.add_(scores.norm_B.square())


def passes_in_words(portions: tuple[Portion, ...]) -> str:
    """For people: "one pass at each checkpoint", or how many, of what each and why."""
    count = len(portions)
    if count == 1:
        return "one pass at each checkpoint"
    blocks = len({portion.tests.start for portion in portions})
    of_what = "the parameters" if blocks == 1 else "the test examples"
    if 1 < blocks < count:
        of_what += " and the parameters"
    return (
        f"{count} passes at each checkpoint, each for a part of {of_what}: the test gradients do not fit the memory "
        "at once"
    )


def _groups(nbytes_of: Mapping[str, int], limit: int) -> list[tuple[frozenset[str], int]] | None:
    """Successive parameters together as far as they fit, with what they take; None if one of them does not."""
    if max(nbytes_of.values()) > limit:
        return None
    groups: list[tuple[set[str], int]] = [(set(), 0)]
    for name, nbytes in nbytes_of.items():
        names, total = groups[-1]
        if total + nbytes > limit:
            groups.append(({name}, nbytes))
        else:
            groups[-1] = names | {name}, total + nbytes
    return [(frozenset(names), total) for names, total in groups]
