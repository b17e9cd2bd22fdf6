"""What the tokenizer makes of a corpus, counted by hand on a word-level tokenizer."""

import numpy as np

from sprachbund.tokens import token_properties, tokens_by_language
from tiny_models import tiny_corpus, tiny_tokenizer

CORPUS = tiny_corpus(items=7, pairs=True)


def test_lengths_and_fertility_are_counts_of_words_and_letters() -> None:
    found = token_properties(tiny_tokenizer(), CORPUS, max_length=4)
    for row, (text, pair) in enumerate(
        zip(CORPUS.frame["text"], CORPUS.frame["text_pair"], strict=True)
    ):
        words = text.split() + pair.split()
        assert found["sequence_length"][row] == min(len(words), 4)
        assert found["fertility"][row] == len(words) / sum(map(len, words))


def test_tokens_of_a_language_are_all_of_its_texts() -> None:
    tokenizer = tiny_tokenizer()
    found = tokens_by_language(tokenizer, (CORPUS, CORPUS.select(languages=["de"])))
    vocabulary = tokenizer.get_vocab()
    for language, times in (("en", 1), ("de", 2)):
        rows = CORPUS.frame[CORPUS.frame["language"] == language]
        words = " ".join(rows["text"] + " " + rows["text_pair"]).split()
        expected = np.bincount([vocabulary[word] for word in words], minlength=30) * times
        np.testing.assert_array_equal(np.bincount(found[language], minlength=30), expected)
