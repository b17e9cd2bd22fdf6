"""PyTorch's own per-example gradients: vmap over grad, every trainable parameter, nothing approximated."""

import torch
from shapes import Batch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from transformers import PreTrainedModel

Gradients = dict[str, Tensor]


def open_mask(attention_mask: Tensor) -> Tensor:
    """A ready mask [..., 1, 1, T] for attention: 0 where a token may be looked at, -inf where not.

    The mask code of transformers asks whether a given 2-D mask has padding, a branch on data that vmap cannot take;
    a 4-D mask is used as it is.
    """
    return torch.where(attention_mask.bool(), 0.0, float("-inf"))[..., None, None, :]


def example_loss(model: nn.Module, parameters: Gradients, batch: Batch) -> Tensor:
    """The loss of one example, given without its batch dimension."""
    logits = functional_call(
        model,
        parameters,
        kwargs={
            "input_ids": batch["input_ids"][None],
            "attention_mask": open_mask(batch["attention_mask"])[None],
        },
    ).logits
    return nn.functional.cross_entropy(logits, batch["labels"][None])


def scores(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> Tensor:
    parameters = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}

    def loss(of: Gradients, batch: Batch) -> Tensor:
        return example_loss(model, of, batch)

    per_example = vmap(grad(loss), in_dims=(None, 0))

    def score(test_gradients: Gradients, train_gradients: Gradients) -> Tensor:
        return sum(
            g_M.flatten(1) @ train_gradients[name].flatten(1).T
            for name, g_M in test_gradients.items()
        )

    bank = [per_example(parameters, batch) for batch in test]
    columns = []
    for batch in train:
        train_gradients = per_example(parameters, batch)
        columns.append(torch.cat([score(g, train_gradients) for g in bank]))
    return torch.cat(columns, dim=1)
