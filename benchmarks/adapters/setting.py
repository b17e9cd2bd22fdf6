"""What every peer is given: one model, one set of batches, and the floor that times are compared with."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModelForSequenceClassification, PreTrainedModel, XLMRobertaConfig

from adapters.catalogue import Sizes

Batch = dict[str, Tensor]

VOCABULARY = 32_000


def small_model() -> PreTrainedModel:
    """XLM-R's shape with 4 layers x 256: random weights, 11.5 M numbers, no dropout."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=514,
        num_labels=3,
    )
    return AutoModelForSequenceClassification.from_config(config).eval()


def batches(examples: int, tokens: int, size: int, seed: int) -> list[Batch]:
    """Full-length random batches: no padding for any side to gain from."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCABULARY, (examples, tokens), generator=generator)
    labels = torch.randint(0, 3, (examples,), generator=generator)
    return [
        {
            "input_ids": ids[start : start + size],
            "attention_mask": torch.ones_like(ids[start : start + size]),
            "labels": labels[start : start + size],
        }
        for start in range(0, examples, size)
    ]


def train_and_test(sizes: Sizes) -> tuple[list[Batch], list[Batch]]:
    return (
        batches(sizes.train, sizes.tokens, sizes.batch, seed=1),
        batches(sizes.test, sizes.tokens, min(sizes.batch, sizes.test), seed=2),
    )


def plain_epoch(model: PreTrainedModel, data: list[Batch]) -> None:
    """The floor: what an ordinary training epoch computes, without the optimizer."""
    for batch in data:
        model.zero_grad(set_to_none=True)
        model(**batch).loss.backward()


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
