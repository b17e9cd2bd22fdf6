"""Tiny random models and padded batches for the exactness tests."""

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, XLMRobertaConfig

VOCABULARY = 120
PADDING = 1
LABELS = 3
SHAPE = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=64,
    num_labels=LABELS,
    pad_token_id=PADDING,
)


def xlm_roberta(dtype=torch.float32, seed=0, **options) -> PreTrainedModel:
    """The XLM-R shape in small: token, position and type embeddings, layer norms, pooled head."""
    torch.manual_seed(seed)
    config = XLMRobertaConfig(**SHAPE | dict(type_vocab_size=1) | options)
    return AutoModelForSequenceClassification.from_config(config).to(dtype).train()


def examples(count: int, longest: int = 20, seed: int = 1) -> list[dict[str, torch.Tensor]]:
    """Unpadded examples of varied length, tokens repeated within and between them."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *size: int) -> torch.Tensor:
        return torch.randint(low, high, size, generator=generator)

    return [
        {
            "input_ids": integers(5, VOCABULARY, int(integers(3, longest + 1, 1))),
            "labels": integers(0, LABELS),
        }
        for _ in range(count)
    ]


def collate(rows: list[dict[str, torch.Tensor]], extra_padding: int = 0) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in rows) + extra_padding
    ids = torch.full((len(rows), longest), PADDING)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for position, row in enumerate(rows):
        length = len(row["input_ids"])
        ids[position, :length] = row["input_ids"]
        mask[position, :length] = 1
    labels = torch.stack([row["labels"] for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def batches(rows, size: int, extra_padding: int = 0) -> list[dict[str, torch.Tensor]]:
    return [
        collate(rows[start : start + size], extra_padding) for start in range(0, len(rows), size)
    ]
