"""The way without rules: autograd through the whole model, one example at a time. Exact, slow, for what needs it."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from sprachbund.gradients.batches import Batch, batch_size
from sprachbund.gradients.per_example import DenseGradient, PerExampleGradient, RowGradient

BatchLoss = Callable[[Batch], Tensor]
Alone = Callable[[Batch, int], Batch]


def gradient_of_sum(
    loss: BatchLoss, batch: Batch, parameters: Mapping[str, nn.Parameter], weight_B: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Autograd's gradient of the weighted sum of losses, by the ordinary way, and the losses [B]."""
    chosen = list(parameters.values())
    try:
        for parameter in chosen:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            losses_B = loss(batch)
            total = (losses_B * weight_B.to(losses_B)).sum()
            losses_B = losses_B.detach().clone()
            if not total.requires_grad:  # the loss of these examples depends on none of them
                zeros = {name: torch.zeros_like(value) for name, value in parameters.items()}
                return zeros, losses_B
            gradients = torch.autograd.grad(total, chosen, materialize_grads=True)
    finally:
        for parameter in chosen:
            parameter.requires_grad_(False)
    dense = (value.to_dense() if value.is_sparse else value for value in gradients)
    return dict(zip(parameters, dense, strict=True)), losses_B


def gradients_one_by_one(
    loss: BatchLoss,
    alone: Alone,
    batch: Batch,
    parameters: Mapping[str, nn.Parameter],
    tables: frozenset[str],
) -> tuple[dict[str, PerExampleGradient], Tensor]:
    """Per-example gradients of these parameters; those named in `tables`, of embeddings, by the rows they touch.

    `alone(batch, position)` is one example of the batch as a batch of its own. Besides, the losses of each, [B].
    """
    found: dict[str, list[Tensor]] = {name: [] for name in parameters}
    one, losses = torch.ones(1), []
    for position in range(batch_size(batch)):
        example = alone(batch, position)
        gradients, loss_1 = gradient_of_sum(loss, example, parameters, one)
        losses.append(loss_1)
        for name, gradient in gradients.items():
            found[name].append(gradient.to_sparse(1) if name in tables else gradient)
    per_example: dict[str, PerExampleGradient] = {
        name: _touched_rows(values) if name in tables else DenseGradient(torch.stack(values))
        for name, values in found.items()
    }
    return per_example, torch.cat(losses)


def _touched_rows(tables: list[Tensor]) -> RowGradient:
    """Sparse tables as rows, padded with zero rows to one length."""
    most = max(1, *(table.indices().shape[1] for table in tables))
    rows, width = tables[0].shape
    ids_BT = torch.zeros(len(tables), most, dtype=torch.long, device=tables[0].device)
    rows_BTD = tables[0].values().new_zeros(len(tables), most, width)
    for position, table in enumerate(tables):
        touched = table.indices().shape[1]
        ids_BT[position, :touched] = table.indices()[0]
        rows_BTD[position, :touched] = table.values()
    return RowGradient(ids_BT, rows_BTD, table_rows=rows, padding_idx=None)
