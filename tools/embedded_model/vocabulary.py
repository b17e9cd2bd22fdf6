"""Trim a Unigram tokenizer to the pieces that a text needs, and single characters."""

import unicodedata
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer

SPECIAL = 4
HAN_CHARACTERS = 3500
SCRIPTS = {"LATIN", "CYRILLIC", "ARABIC", "HANGUL", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}


def kept_pieces(tokenizer: dict[str, Any], texts: Iterable[str], full: Tokenizer) -> list[int]:
    """Old ids that stay, in order: what `texts` need, single characters of their scripts, the special tokens.

    A Unigram segmentation is the likeliest path through the vocabulary, so taking pieces away that are not on it does
    not change it. The least likely piece stays too: the score of an unknown character is counted from it.
    """
    vocabulary = tokenizer["model"]["vocab"]
    mask = len(vocabulary) - 1
    kept = {*range(SPECIAL), mask}
    kept.update(i for encoding in full.encode_batch(list(texts)) for i in encoding.ids)
    kept.add(min(range(SPECIAL, mask), key=lambda i: vocabulary[i][1]))
    han = 0
    for i, (piece, _) in enumerate(vocabulary):
        character = piece[1:] if len(piece) == 2 and piece.startswith("▁") else piece
        if len(character) != 1:
            continue
        if unicodedata.name(character, "?").startswith("CJK"):
            # The vocabulary is sorted by score: the first ones are the commonest.
            han += len(piece) == 1
            if len(piece) == 1 and han <= HAN_CHARACTERS:
                kept.add(i)
        elif _belongs(character):
            kept.add(i)
    return sorted(kept)


def trimmed(tokenizer: dict[str, Any], kept: list[int]) -> dict[str, Any]:
    """The tokenizer.json with only these pieces, scores unchanged, renumbered in order."""
    new_id = {old: new for new, old in enumerate(kept)}
    model = tokenizer["model"]
    return {
        **tokenizer,
        "added_tokens": [
            {**token, "id": new_id[token["id"]]} for token in tokenizer["added_tokens"]
        ],
        "model": {**model, "vocab": [model["vocab"][old] for old in kept]},
    }


def _belongs(character: str) -> bool:
    """Letters of the 14 languages' scripts; digits, punctuation, symbols and spaces below U+3100."""
    script = unicodedata.name(character, "?").split()[0]
    kind = unicodedata.category(character)[0]
    return script in {*SCRIPTS, "DIGIT"} or (kind in "PNSZ" and ord(character) < 0x3100)
