"""Scores of every training example for every test example, in one pass over each."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sprachbund.errors import GradientError
from sprachbund.gradients.bank import Bank
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.losses import Batch, Loss, batch_size
from sprachbund.gradients.parameters import ParameterFilter
from sprachbund.gradients.per_example import PerExampleGradient
from sprachbund.gradients.similarity import cosine

Similarity = Literal["dot", "cosine"]


@dataclass(frozen=True)
class BatchScores:
    """What one pass over a training batch yields, all float64."""

    dot_MB: Tensor
    norm_B: Tensor
    loss_B: Tensor


def fill_bank(
    engine: GradientEngine, batches: Iterable[Batch], dtype: torch.dtype | None = None
) -> tuple[Bank, Tensor]:
    """The bank of all test examples, in order, and their losses [M]."""
    test = list(batches)
    if not test:
        raise GradientError("there is no test batch (an iterator that was already consumed?)")
    bank, losses = Bank(sum(map(batch_size, test)), dtype), []
    for batch in test:
        losses.append(engine.per_example(batch, bank.add).cpu().double())
        bank.advance(batch_size(batch))
    return bank, torch.cat(losses)


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
    return BatchScores(dot_MB.cpu(), squared_norm_B.sqrt().cpu(), losses.cpu().double())


def pairwise_influence(
    model: nn.Module,
    train: Iterable[Batch],
    test: Iterable[Batch],
    similarity: Similarity = "dot",
    loss: Loss | None = None,
    parameters: ParameterFilter | None = None,
) -> Tensor:
    """Gradient similarity of every test example with every training example at one checkpoint.

    The inner product of the two examples' loss gradients, one summand of TracInCP (Pruthi et al. 2020, section 3.2)
    without its learning rate, or their cosine (Choenni et al. 2023, section 3). Over all trainable parameters, exactly.

    Args:
        model: any transformer (or other module) whose loss of an example does not depend on its batch.
        train, test: re-iterables of collated batches, dicts of tensors with `labels`.
        similarity: "dot" or "cosine".
        loss: (model, batch) -> losses [B]; by default the model's own task loss of each example.
        parameters: keeps the parameters whose name it is true for; by default all trainable ones.

    Returns: [n_test, n_train] in the order of the batches, in the model's floating type. The model is left as it
        was found: mode, requires_grad, gradients, hooks.
    Raises: GradientError if no parameter is left, a loss is not finite or depends on the batch.
    """
    if similarity not in ("dot", "cosine"):
        raise GradientError(f'similarity is "{similarity}"; expected "dot" or "cosine"')
    with GradientEngine(model, loss=loss, parameters=parameters) as engine:
        bank, _ = fill_bank(engine, test)
        scores = [score_batch(engine, bank, batch) for batch in train]
        dtype = next(iter(engine.selection.parameters.values())).dtype
    if not scores:
        raise GradientError("there is no training batch (an iterator that was already consumed?)")
    dot_MN = torch.cat([score.dot_MB for score in scores], dim=1)
    if similarity == "dot":
        return dot_MN.to(dtype)
    return cosine(dot_MN, bank.norms(), torch.cat([score.norm_B for score in scores])).to(dtype)
