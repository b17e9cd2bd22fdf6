"""The models and batches that the benchmarks share: XLM-R shapes with random weights, random tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, XLMRobertaConfig

from sprachbund.batching import pack

Batch = dict[str, torch.Tensor]
_PADDING = 1


@dataclass(frozen=True)
class Shape:
    """The numbers that make an XLM-R."""

    layers: int
    width: int
    heads: int
    vocabulary: int


SHAPES = {
    "small": Shape(layers=4, width=256, heads=4, vocabulary=32_000),  # 11.4 M numbers
    "base": Shape(layers=12, width=768, heads=12, vocabulary=250_002),  # 278 M: XLM-R base
}


def build(shape: Shape) -> PreTrainedModel:
    """A classifier of this shape, in evaluation mode."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        max_position_embeddings=514,
        num_labels=3,
        pad_token_id=_PADDING,
    )
    return AutoModelForSequenceClassification.from_config(config).eval()


def lengths_of(examples: int, tokens: int, kind: str, seed: int) -> list[int]:
    """All of `tokens` ("full": no padding for anybody to gain from), or from a quarter of it up ("varied")."""
    if kind == "full":
        return [tokens] * examples
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(tokens // 4, tokens + 1, (examples,), generator=generator).tolist()


def batches(shape: Shape, lengths: Sequence[int], size: int, seed: int) -> list[Batch]:
    """Examples of these lengths in their order, padded to the longest of each batch, as a Trainer does."""
    order = list(range(len(lengths)))
    return [
        _batch(shape, lengths, order[start : start + size], seed)
        for start in range(0, len(order), size)
    ]


def packed(shape: Shape, lengths: Sequence[int], seed: int) -> list[Batch]:
    """The same examples sorted by length and packed, as attribution does."""
    return [
        _batch(shape, lengths, positions, seed)
        for positions in pack(lengths, tokens=4096, examples=32)
    ]


def plain_epoch(model: PreTrainedModel, data: Iterable[Batch]) -> None:
    """The floor: what an ordinary training epoch computes, without the optimizer."""
    for batch in data:
        model.zero_grad(set_to_none=True)
        model(**{name: value.to(model.device) for name, value in batch.items()}).loss.backward()


def _batch(shape: Shape, lengths: Sequence[int], positions: Sequence[int], seed: int) -> Batch:
    longest = max(lengths[position] for position in positions)
    ids = torch.full((len(positions), longest), _PADDING)
    labels = torch.zeros(len(positions), dtype=torch.long)
    for row, position in enumerate(positions):
        generator = torch.Generator().manual_seed(1_000_000 * seed + position)
        length = lengths[position]
        ids[row, :length] = torch.randint(5, shape.vocabulary, (length,), generator=generator)
        labels[row] = torch.randint(0, 3, (), generator=generator)
    return {"input_ids": ids, "attention_mask": (ids != _PADDING).long(), "labels": labels}
