"""Sentence embeddings and BM25 against one text at a time and the formula by hand."""

import math

import numpy as np
import pytest
import torch
from transformers import AutoModel

from sprachbund.modeling import ModelConfig, load_tokenizer
from sprachbund.validation.similarity import bm25_scores, embedding_scores
from tiny_models import tiny_corpus, tiny_model, tiny_tokenizer

CORPUS = tiny_corpus(items=7, pairs=True)
TRAIN, TEST = CORPUS.take(range(11)), CORPUS.take([0, 5, 12, 13])


def texts(corpus) -> list[str]:
    return (corpus.frame["text"] + " " + corpus.frame["text_pair"]).tolist()


def bm25_by_hand(query: list[str], documents: list[list[str]]) -> list[float]:
    """Kamphuis et al. (2020), table 1, Lucene (accurate): k1 = 1.5, b = 0.75."""
    average = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for term in query:
            df = sum(term in other for other in documents)
            idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            tf = document.count(term)
            score += idf * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * len(document) / average))
        scores.append(score)
    return scores


def test_bm25_is_the_formula_over_the_tokens_of_both_texts():
    documents = [text.split() for text in texts(TRAIN)]
    expected = [bm25_by_hand(text.split(), documents) for text in texts(TEST)]
    found = bm25_scores(tiny_tokenizer(), TRAIN, TEST)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_unknown_tokens_match_nothing_in_bm25():
    frame = TRAIN.frame.assign(text="xyzzy", text_pair="")
    unknown = type(TRAIN)(frame, TRAIN.labels, "unknown")
    tokenizer = tiny_tokenizer()
    assert (bm25_scores(tokenizer, unknown, TEST) == 0).all()
    assert (bm25_scores(tokenizer, TRAIN, unknown) == 0).all()
    assert (bm25_scores(tokenizer, unknown, unknown) == 0).all()


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_embeddings_are_means_of_the_last_layer_one_text_at_a_time(tmp_path, kind):
    path = tiny_model(tmp_path / "model", kind)
    model, tokenizer = AutoModel.from_pretrained(path).eval(), load_tokenizer(path)

    def embedding(text: str, pair: str) -> np.ndarray:
        with torch.no_grad():
            hidden = model(**tokenizer(text, pair, return_tensors="pt")).last_hidden_state[0]
        return hidden.double().mean(0).numpy()

    rows = [
        [embedding(*pair) for pair in zip(c.frame["text"], c.frame["text_pair"], strict=True)]
        for c in (TEST, TRAIN)
    ]
    expected = [
        [one @ other / np.linalg.norm(one) / np.linalg.norm(other) for other in rows[1]]
        for one in rows[0]
    ]
    found = embedding_scores(ModelConfig(path=str(path), max_length=32), TRAIN, TEST)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    copies = [TRAIN.frame["text"].tolist().index(text) for text in TEST.frame["text"][:2]]
    assert found[[0, 1], copies] == pytest.approx(1.0, abs=1e-6), "a copy must have cosine 1"
