"""From batches to a bank, and from a bank and a batch to scores: one pass of the engine each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from sprachbund.errors import GradientError
from sprachbund.gradients.bank import Bank
from sprachbund.gradients.batches import Batch, batch_size
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.parameter_bank import Each, Means
from sprachbund.gradients.per_example import PerExampleGradient


@dataclass(frozen=True)
class BatchScores:
    """What one pass over a training batch yields, all float64."""

    dot_MB: Tensor
    norm_B: Tensor
    loss_B: Tensor


@dataclass(frozen=True)
class FilledBank:
    """The bank of some test examples, in order, their gradient norms and their losses, [M] float64."""

    bank: Bank
    norm_M: Tensor
    loss_M: Tensor


def fill_bank(
    engine: GradientEngine, batches: Iterable[Batch], dtype: torch.dtype | None = None
) -> FilledBank:
    """One pass over the test examples. Written-out gradients are kept in `dtype`, by default the model's.

    The longest texts come first: by them the bank chooses how it keeps each matrix's gradients.
    """
    test = list(batches)
    if not test:
        raise GradientError("there is no test batch (an iterator that was already consumed?)")
    bank = Bank(sum(map(batch_size, test)), dtype)
    norm_M, loss_M = torch.empty(2, bank.size, dtype=torch.float64)
    for start, batch in longest_first(test):
        squared_norm_B = torch.zeros(batch_size(batch), dtype=torch.float64, device=engine.device)
        losses = engine.per_example(batch, bank.adding(Each(start), squared_norm_B))
        check_norms(squared_norm_B, "test")
        span = slice(start, start + batch_size(batch))
        norm_M[span], loss_M[span] = squared_norm_B.sqrt().cpu(), losses.cpu().double()
    bank.settle()
    return FilledBank(bank, norm_M, loss_M)


def longest_first(batches: Sequence[Batch]) -> list[tuple[int, Batch]]:
    """The batches by their longest texts, each with the position of its first example in the order given."""
    starts = accumulate(map(batch_size, batches[:-1]), initial=0)
    return sorted(zip(starts, batches, strict=True), key=lambda numbered: -_tokens(numbered[1]))


def _tokens(batch: Batch) -> int:
    return max((value.shape[1] for value in batch.values() if value.dim() > 1), default=1)


def score_batch(engine: GradientEngine, bank: Bank, batch: Batch) -> BatchScores:
    """Inner products of every test gradient with every gradient of the batch, and the latter's norms."""
    size = batch_size(batch)
    dot_MB = torch.zeros(bank.size, size, dtype=torch.float64, device=engine.device)
    squared_norm_B = torch.zeros(size, dtype=torch.float64, device=engine.device)

    def contract(name: str, gradient: PerExampleGradient) -> None:
        nonlocal dot_MB, squared_norm_B
        products, squares = bank.contract(name, gradient)
        dot_MB += products
        squared_norm_B += squares

    losses = engine.per_example(batch, contract)
    check_norms(squared_norm_B, "training")
    return BatchScores(dot_MB.cpu(), squared_norm_B.sqrt().cpu(), losses.cpu().double())


def fill_means(
    engine: GradientEngine,
    batches: Iterable[Batch],
    group_M: Tensor,
    weight_M: Tensor,
    dtype: torch.dtype | None = None,
) -> Bank:
    """The bank of weighted sums of test gradients: example m adds weight[m] times its gradient to row group[m]."""
    bank, start = Bank(int(group_M.max()) + 1, dtype, examples=len(group_M)), 0
    for batch in batches:
        span = slice(start, start + batch_size(batch))
        placement = Means(group_M[span].to(engine.device), weight_M[span].to(engine.device))
        squared_norm_B = torch.zeros(batch_size(batch), dtype=torch.float64, device=engine.device)
        engine.per_example(batch, bank.adding(placement, squared_norm_B))
        check_norms(squared_norm_B, "test")
        start = span.stop
    bank.settle()
    return bank


def check_norms(squared_norm_B: Tensor, kind: str) -> None:
    """Raises: GradientError if the gradient of an example is not finite: its scores would be NaN."""
    bad = int((~squared_norm_B.isfinite()).sum())
    if bad:
        raise GradientError(
            f"the gradient of {bad} of the {len(squared_norm_B)} {kind} examples of a batch is not finite, although "
            "their loss is: a square root or logarithm at zero, or an overflow. Compute in float32, or mend the loss"
        )


def squared_norms(engine: GradientEngine, batch: Batch) -> Tensor:
    """Squared gradient norm of each example over all parameters, [B] float64."""
    total_B = torch.zeros(batch_size(batch), dtype=torch.float64, device=engine.device)

    def add(_name: str, gradient: PerExampleGradient) -> None:
        nonlocal total_B
        total_B += gradient.squared_norm()

    engine.per_example(batch, add)
    check_norms(total_B, "test")
    return total_B.cpu()
