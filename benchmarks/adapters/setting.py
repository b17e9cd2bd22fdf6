"""What every peer is given: one model, one set of batches, and the floor that times are compared with."""

import torch
from shapes import SHAPES, Batch, batches, build
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import PreTrainedModel

from adapters.catalogue import Sizes

_SHAPE = SHAPES["small"]


def small_model() -> PreTrainedModel:
    """XLM-R's shape with 4 layers x 256: random weights, 11.5 M numbers, no dropout."""
    return build(_SHAPE)


def train_and_test(sizes: Sizes) -> tuple[list[Batch], list[Batch]]:
    """Full-length batches: no padding for any side to gain from."""
    train, test = ([sizes.tokens] * examples for examples in (sizes.train, sizes.test))
    return (
        batches(_SHAPE, train, sizes.batch, seed=1),
        batches(_SHAPE, test, min(sizes.batch, sizes.test), seed=2),
    )


class Logits(nn.Module):
    """The model as libraries of plain PyTorch expect one: tensors in, logits [B, C] out."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def dataset(data: list[Batch]) -> TensorDataset:
    """All examples of the batches, in order: (input_ids, attention_mask, labels)."""
    names = ("input_ids", "attention_mask", "labels")
    return TensorDataset(*(torch.cat([batch[name] for batch in data]) for name in names))


def loader(data: list[Batch], size: int | None = None) -> DataLoader:
    """The same batches, or other ones of a given size, through PyTorch's loader, as tuples."""
    return DataLoader(dataset(data), batch_size=size or len(data[0]["labels"]))
