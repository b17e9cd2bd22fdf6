"""What the tokenizer makes of the examples: lengths and fertility for the analysis, and sub-words."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from sprachbund.data.corpus import Corpus

_AT_ONCE = 1000
TokenIds = npt.NDArray[np.int64]


def token_properties(
    tokenizer: PreTrainedTokenizerBase, corpus: Corpus, max_length: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Properties of each example that depend on the tokenizer, [example].

    `sequence_length`: tokens of both texts, without special ones, at most `max_length`.
    `fertility`: tokens for a character that is not white space (words would need to be told apart,
    which not every script does).
    """
    rows = list(token_ids(tokenizer, corpus))
    length = np.array([len(ids) for ids in rows], dtype=np.float64)
    pairs = zip(corpus.frame["text"], corpus.frame["text_pair"], strict=True)
    characters = np.array([len("".join(f"{text}{pair}".split())) for text, pair in pairs])
    return {
        "sequence_length": np.minimum(length, max_length),
        "fertility": length / np.maximum(characters, 1),
    }


def tokens_by_language(
    tokenizer: PreTrainedTokenizerBase, corpora: Iterable[Corpus]
) -> dict[str, TokenIds]:
    """The token ids of all texts of a language one after another, without special tokens."""
    found: dict[str, list[TokenIds]] = {}
    for corpus in corpora:
        ids = token_ids(tokenizer, corpus)
        for language, row in zip(corpus.frame["language"], ids, strict=True):
            found.setdefault(str(language), []).append(row)
    return {language: np.concatenate(rows) for language, rows in found.items()}


def shared_ids(tokens: Mapping[str, TokenIds]) -> TokenIds:
    """The ids, sorted, that occur in the texts of at least two languages."""
    used = np.concatenate([np.unique(ids) for ids in tokens.values()])
    ids, languages = np.unique(used, return_counts=True)
    return ids[languages >= 2]


def token_ids(tokenizer: PreTrainedTokenizerBase, corpus: Corpus) -> Iterator[TokenIds]:
    """Yield the token ids of both texts of each example, untruncated."""
    for start in range(0, len(corpus), _AT_ONCE):
        rows = corpus.frame.iloc[start : start + _AT_ONCE]
        parts = [
            tokenizer(rows[column].tolist(), add_special_tokens=False, verbose=False)["input_ids"]
            for column in ("text", "text_pair")
        ]
        for first, second in zip(*parts, strict=True):
            yield np.array([*first, *second], dtype=np.int64)
