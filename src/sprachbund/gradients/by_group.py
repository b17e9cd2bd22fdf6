"""Inner products of gradients by group of parameters: one pass each, and the groups add up to the whole."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sprachbund.errors import GradientError
from sprachbund.gradients.bank import Bank
from sprachbund.gradients.batches import Batch, batch_size
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.parameter_bank import Each
from sprachbund.gradients.partition import Partition
from sprachbund.gradients.per_example import Consumer, PerExampleGradient
from sprachbund.gradients.scoring import check_norms, longest_first


@dataclass(frozen=True)
class GroupedBank:
    """The bank of some test examples, cut by a partition, and their squared norms by group, [G, M] float64."""

    bank: Bank
    partition: Partition
    squared_norm_GM: Tensor


@dataclass(frozen=True)
class GroupScores:
    """What one pass over a training batch yields by group of parameters, float64, on the CPU.

    The sum over the groups is the inner product, and the squared norm, of the whole gradients.
    """

    dot_GMB: Tensor
    squared_norm_GB: Tensor


def fill_grouped_bank(
    engine: GradientEngine,
    batches: Iterable[Batch],
    partition: Partition,
    dtype: torch.dtype | None = None,
) -> GroupedBank:
    """One pass over the test examples. Written-out gradients are kept in `dtype`, by default the model's.

    The longest texts come first, as in `fill_bank`.

    Raises: GradientError if there is no test example, or a parameter belongs to no group.
    """
    test = list(batches)
    if not test:
        raise GradientError("there is no test batch (an iterator that was already consumed?)")
    bank = Bank(sum(map(batch_size, test)), dtype)
    squared_norm_GM = torch.empty(len(partition.groups), bank.size, dtype=torch.float64)
    for start, batch in longest_first(test):
        squared_norm_GB = _zeros(engine, len(partition.groups), batch_size(batch))
        engine.per_example(batch, _adding(bank, partition, Each(start), squared_norm_GB))
        check_norms(squared_norm_GB.sum(0), "test")
        squared_norm_GM[:, start : start + batch_size(batch)] = squared_norm_GB.cpu()
    bank.settle()
    return GroupedBank(bank, partition, squared_norm_GM)


def score_batch_by_group(engine: GradientEngine, grouped: GroupedBank, batch: Batch) -> GroupScores:
    """Inner products of every test gradient with every gradient of the batch, by group of parameters."""
    bank, partition, size = grouped.bank, grouped.partition, batch_size(batch)
    dot_GMB = _zeros(engine, len(partition.groups), bank.size, size)
    squared_norm_GB = _zeros(engine, len(partition.groups), size)

    def contract(name: str, gradient: PerExampleGradient) -> None:
        for group, part, of_part in partition.split(name, gradient):
            products_MB, squares_B = bank.contract(part, of_part)
            dot_GMB[group] += products_MB
            squared_norm_GB[group] += squares_B

    engine.per_example(batch, contract)
    check_norms(squared_norm_GB.sum(0), "training")
    return GroupScores(dot_GMB.cpu(), squared_norm_GB.cpu())


def _adding(bank: Bank, partition: Partition, placement: Each, squared_norm_GB: Tensor) -> Consumer:
    """What takes in a batch's gradients part by part, each part's squared norms added to its group's."""
    add_to_group = [bank.adding(placement, squared_norm_B) for squared_norm_B in squared_norm_GB]

    def add(name: str, gradient: PerExampleGradient) -> None:
        for group, part, of_part in partition.split(name, gradient):
            add_to_group[group](part, of_part)

    return add


def _zeros(engine: GradientEngine, *shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64, device=engine.device)
