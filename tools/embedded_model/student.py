"""A small BERT that starts as a bag of pieces and learns the teacher's sentence vectors."""

import sys
import time

import numpy as np
import torch
from torch import nn
from transformers import BertConfig, BertModel

from embedded_model.teacher import PAD, padded

LONGEST = 64
SEED = 0


def new_student(
    pieces_VH: np.ndarray, spread_H: np.ndarray, layers: int, inner: int, heads: int
) -> BertModel:
    """A BERT whose pooled output is, before training, about the mean of its pieces' vectors.

    `pieces_VH` are the pieces' vectors [vocabulary, width]; `spread_H` the standard deviation of each target.
    """
    torch.manual_seed(SEED)
    vocabulary, width = pieces_VH.shape
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=inner, max_position_embeddings=128, pad_token_id=PAD, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    student = BertModel(config)
    near_identity = torch.eye(width)
    with torch.no_grad():
        student.embeddings.word_embeddings.weight.copy_(torch.from_numpy(pieces_VH))
        first = student.encoder.layer[0].attention
        first.self.value.weight.add_(near_identity)
        first.output.dense.weight.add_(3 * near_identity)
        pooler = student.pooler.dense.weight
        pooler.mul_(0.25).add_(0.35 * near_identity)
        pooler.mul_(torch.from_numpy(spread_H).float()[:, None])
    return student


def distil(
    student: BertModel,
    sequences: list[list[int]],
    targets_NH: np.ndarray,
    epochs: int,
    rate: float,
    batch: int = 256,
) -> None:
    """Fit tanh(targets) by the pooled output, squared error; AdamW, cosine schedule with warm-up."""
    wanted_NH = torch.from_numpy(np.tanh(targets_NH)).float()
    sequences = [sequence[:LONGEST] for sequence in sequences]
    generator = np.random.default_rng(SEED)
    optimizer = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=0.01)
    steps = epochs * -(-len(sequences) // batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(step / 200, 1.0) * 0.5 * (1 + np.cos(np.pi * min(step / steps, 1))),
    )
    student.train()
    start = time.time()
    for epoch in range(epochs):
        total = 0.0
        batches = _batches(sequences, batch, generator)
        for rows in batches:
            ids_BT = padded([sequences[i] for i in rows])
            pooled_BH = student(
                input_ids=ids_BT, attention_mask=(ids_BT != PAD).long()
            ).pooler_output
            loss = (pooled_BH - wanted_NH[rows]).square().sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(
            f"epoch {epoch + 1}: loss {total / len(batches):.2f}, {time.time() - start:.0f} s",
            file=sys.stderr,
        )
    student.eval()


def _batches(
    sequences: list[list[int]], batch: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """Shuffled batches of about equal length, so that little of a batch is padding."""
    lengths = np.array([len(sequence) for sequence in sequences])
    order = generator.permutation(len(sequences))
    batches = []
    for start in range(0, len(order), 32 * batch):
        window = order[start : start + 32 * batch]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches += [window[i : i + batch] for i in range(0, len(window), batch)]
    generator.shuffle(batches)
    return batches
