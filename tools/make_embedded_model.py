"""Make the packed embedded model from multilingual-e5-small.

    python tools/make_embedded_model.py MODEL_FOLDER CLDR_COMMON src/sprachbund/embedded/assets

MODEL_FOLDER is a Hugging Face folder of intfloat/multilingual-e5-small (any trimming of its vocabulary
that keeps the emoji names whole); CLDR_COMMON the folder `common` of Unicode CLDR 41 (Debian:
unicode-cldr-core, /usr/share/unicode/cldr/common). Takes about 20 minutes of one core; the same input,
versions and processor give the same bytes. Never run by the tests.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.numpy import save
from tokenizers import Tokenizer
from transformers import BertModel

from embedded_model.student import distil, new_student
from embedded_model.teacher import sentence_vectors, targets
from embedded_model.texts import PIECE, distillation_texts
from embedded_model.vocabulary import kept_pieces, trimmed
from sprachbund.embedded.emoji import emoji_frame
from sprachbund.embedded.model import PACKED_WEIGHTS
from sprachbund.embedded.packing import pack

WIDTH, LAYERS, INNER, HEADS = 256, 2, 768, 4
EPOCHS, RATE = 6, 1.2e-3
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
RIDGE = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("cldr", type=Path)
    parser.add_argument("assets", type=Path)
    arguments = parser.parse_args()
    # Sums over several threads come in no fixed order.
    torch.set_num_threads(1)

    tokenizer, kept = trimmed_tokenizer(arguments.model)
    vocabulary = [piece for piece, _ in tokenizer["model"]["vocab"]]
    named = set(_pieces_of(tokenizer, emoji_frame()["text"].tolist()))
    texts = distillation_texts(arguments.cldr, sorted(vocabulary[i] for i in named))
    wanted_NH = targets(sentence_vectors(arguments.model, texts["text"].tolist()), texts, WIDTH)

    pieces_VH = piece_vectors(_embeddings(arguments.model, kept), vocabulary, texts, wanted_NH)
    student = new_student(pieces_VH, wanted_NH.std(axis=0) / 0.5, LAYERS, INNER, HEADS)
    encodings = Tokenizer.from_str(json.dumps(tokenizer)).encode_batch(texts["text"].tolist())
    distil(student, [encoding.ids for encoding in encodings], wanted_NH, EPOCHS, RATE)
    write_assets(arguments.assets, tokenizer, student)


def trimmed_tokenizer(model: Path) -> tuple[dict[str, Any], list[int]]:
    """The trimmed tokenizer.json and the old ids of what it keeps."""
    text = (model / "tokenizer.json").read_text(encoding="utf-8")
    full = json.loads(text)
    kept = kept_pieces(full, emoji_frame()["text"], Tokenizer.from_str(text))
    return trimmed(full, kept), kept


def piece_vectors(
    embeddings_VH: np.ndarray, vocabulary: list[str], texts: pd.DataFrame, wanted_NH: np.ndarray
) -> np.ndarray:
    """Where each piece starts: its own target where it is among the texts, else a linear guess from its embedding."""
    target_row = {
        text: row for row, text in enumerate(texts["text"]) if texts["kind"][row] == PIECE
    }
    rows = np.array([target_row.get(piece.replace("▁", " ").strip(), -1) for piece in vocabulary])
    known = rows >= 0
    inputs = np.c_[embeddings_VH, np.ones(len(embeddings_VH))]
    gram = inputs[known].T @ inputs[known] + RIDGE * np.eye(inputs.shape[1])
    guess = inputs @ np.linalg.solve(gram, inputs[known].T @ wanted_NH[rows[known]])
    guess[known] = wanted_NH[rows[known]]
    guess /= guess.std(axis=1, keepdims=True)
    guess[[vocabulary.index(token) for token in SPECIAL_TOKENS]] = 0
    return guess


def write_assets(assets: Path, tokenizer: dict[str, Any], student: BertModel) -> None:
    """Write config.json, tokenizer files and the packed weights."""
    config = {
        **student.config.to_diff_dict(),
        "architectures": ["BertModel"],
        "dtype": "float32",
    }
    del config["transformers_version"]
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), SPECIAL_TOKENS, strict=True)),
        "cls_token": "<s>",
        "sep_token": "</s>",
        "model_max_length": student.config.max_position_embeddings,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    _write_json(assets / "config.json", config)
    _write_json(assets / "tokenizer_config.json", tokenizer_config)
    _write_json(assets / "tokenizer.json", tokenizer, indent=None)
    weights = {name: weight.numpy() for name, weight in student.state_dict().items()}
    (assets / PACKED_WEIGHTS).write_bytes(save(pack(weights)))


def _write_json(path: Path, content: dict[str, Any], indent: int | None = 1) -> None:
    separators = None if indent else (",", ":")
    text = json.dumps(content, ensure_ascii=False, indent=indent, separators=separators)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def _embeddings(model: Path, kept: list[int]) -> np.ndarray:
    with safe_open(model / "model.safetensors", "pt") as weights:
        table = weights.get_tensor("embeddings.word_embeddings.weight")
    return table[kept].double().numpy()


def _pieces_of(tokenizer: dict[str, Any], texts: list[str]) -> list[int]:
    encodings = Tokenizer.from_str(json.dumps(tokenizer)).encode_batch(texts)
    return [i for encoding in encodings for i in encoding.ids]


if __name__ == "__main__":
    main()
