"""Batches of like length: little is computed on padding, and the same rows always make the same batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from sprachbund.modeling import collate

EncodedRow = dict[str, Any]


@dataclass(frozen=True)
class Batcher:
    """Packs encoded rows, shortest first, into batches of at most `tokens` padded tokens and `examples` rows."""

    tokenizer: PreTrainedTokenizerBase
    tokens: int
    examples: int

    def __call__(self, rows: Sequence[EncodedRow]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Yield the positions of the rows in a batch, and the batch."""
        for positions in self.packed(rows):
            yield positions, self.batch(rows, positions)

    def packed(self, rows: Sequence[EncodedRow]) -> Iterator[list[int]]:
        """The positions of the rows in each batch."""
        return pack([len(row["input_ids"]) for row in rows], self.tokens, self.examples)

    def batch(self, rows: Sequence[EncodedRow], positions: Sequence[int]) -> dict[str, Tensor]:
        """The rows at these positions as a batch."""
        return collate([rows[position] for position in positions], self.tokenizer)


def pack(lengths: Sequence[int], tokens: int, examples: int) -> Iterator[list[int]]:
    """Positions of examples of these lengths, shortest first, in batches within both limits."""
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        full = len(batch) == examples
        if batch and (full or lengths[position] * (len(batch) + 1) > tokens):
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
