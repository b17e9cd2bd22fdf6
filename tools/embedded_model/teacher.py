"""The teacher's sentence vectors, and what the student's pooled output should be."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer
from transformers import AutoModel

from embedded_model.texts import KEYWORD, NAME

PAD = 1
BATCH = 128
TRANSLATION_WEIGHTS = {NAME: 0.8, KEYWORD: 0.7}
TARGET_SCALE = 0.5


def padded(sequences: list[list[int]]) -> torch.Tensor:
    """Token ids [batch, longest], padded on the right."""
    ids_BT = torch.full((len(sequences), max(map(len, sequences))), PAD)
    for row, sequence in enumerate(sequences):
        ids_BT[row, : len(sequence)] = torch.tensor(sequence)
    return ids_BT


@torch.no_grad()
def sentence_vectors(folder: Path, texts: list[str]) -> np.ndarray:
    """The model's own sentence vectors, the mean of the last hidden states: [text, width] float64."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    sequences = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    vectors = np.zeros((len(texts), model.config.hidden_size))
    order = sorted(range(len(texts)), key=lambda i: len(sequences[i]))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        ids_BT = padded([sequences[i] for i in rows])
        mask_BT = (ids_BT != PAD).long()
        hidden_BTH = model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        sums_BH = (hidden_BTH * mask_BT[..., None]).sum(1)
        vectors[rows] = (sums_BH / mask_BT.sum(1, keepdim=True)).numpy()
    return vectors


def targets(vectors: np.ndarray, texts: pd.DataFrame, width: int) -> np.ndarray:
    """Pre-activations of the pooler, before its tanh: [text, width].

    Each language's mean is taken away; a name is drawn towards the mean over its translations and a keyword towards
    those of the emoji that it stands for (the idea of Reimers and Gurevych, 2020); the principal components are half
    whitened, so that the first few do not say everything.
    """
    vectors = vectors.copy()
    for rows in texts.groupby("language").indices.values():
        vectors[rows] -= vectors[rows].mean(axis=0)
    for kind, weight in TRANSLATION_WEIGHTS.items():
        rows = np.flatnonzero(texts["kind"] == kind)
        drawn_to = _mean_of_translations(vectors[rows], texts["emoji"].iloc[rows])
        vectors[rows] += weight * (drawn_to - vectors[rows])
    variance, axes = np.linalg.eigh(np.cov(vectors.T))
    largest = np.argsort(-variance)[:width]
    projected = vectors @ axes[:, largest] / variance[largest] ** 0.25
    return projected * (TARGET_SCALE / projected.std())


def _mean_of_translations(vectors: np.ndarray, emoji: pd.Series) -> np.ndarray:
    """For each text the mean, over the emoji it stands for, of the mean vector of all that stand for that emoji."""
    pairs = emoji.reset_index(drop=True).explode()
    centres = pd.DataFrame(vectors[pairs.index]).groupby(pairs.to_numpy()).transform("mean")
    return centres.groupby(pairs.index.to_numpy()).mean().to_numpy()
