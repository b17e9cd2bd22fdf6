"""How alike test and training examples are as texts, without any gradient: the controls of the removal check."""

import bm25s
import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sprachbund.batching import Batcher
from sprachbund.data.corpus import Corpus
from sprachbund.modeling import ModelConfig, encode, load_classifier, load_tokenizer
from sprachbund.tokens import token_ids

Scores = npt.NDArray[np.float64]
_TOKENS_PER_BATCH, _EXAMPLES_PER_BATCH = 4096, 64


def embedding_scores(config: ModelConfig, train: Corpus, test: Corpus) -> Scores:
    """Cosine of the sentence embeddings of test and training examples, [test, train].

    Raises: ModelError if the model cannot be loaded.
    """
    model = load_classifier(config, train.labels, seed=0)  # the head is not used
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = load_tokenizer(config.path)
    test_MH, train_NH = (
        sentence_embeddings(model, tokenizer, corpus, config.max_length) for corpus in (test, train)
    )
    return test_MH @ train_NH.T


def sentence_embeddings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, corpus: Corpus, max_length: int
) -> Scores:
    """Mean of the last hidden states over all tokens of an example, scaled to length 1: [example, width].

    Special tokens count (Reimers and Gurevych 2019, mean pooling); of a pair, both texts together.
    """
    rows = encode(corpus, tokenizer, max_length)
    embeddings_NH = np.zeros((len(rows), model.config.hidden_size))
    with torch.inference_mode():
        for positions, batch in Batcher(tokenizer, _TOKENS_PER_BATCH, _EXAMPLES_PER_BATCH)(rows):
            inputs = {k: v.to(model.device) for k, v in batch.items() if k != "labels"}
            hidden_BTH = model.base_model(**inputs).last_hidden_state.double()
            mask_BT1 = inputs["attention_mask"].unsqueeze(-1)
            mean_BH = (hidden_BTH * mask_BT1).sum(1) / mask_BT1.sum(1)
            embeddings_NH[positions] = torch.nn.functional.normalize(mean_BH, dim=1).cpu().numpy()
    return embeddings_NH


def bm25_scores(tokenizer: PreTrainedTokenizerBase, train: Corpus, test: Corpus) -> Scores:
    """BM25 of each training example for each test example as the query, [test, train].

    Over the sub-words of both texts, untruncated, because words cannot be told apart by blanks in
    every script; unknown ones match nothing. Lucene's form with k1 = 1.5 and b = 0.75 (Kamphuis
    et al. 2020, *Which BM25 do you mean?*).
    """
    documents, queries = (_terms(tokenizer, corpus) for corpus in (train, test))
    scores_MN = np.zeros((len(queries), len(documents)))
    if not any(documents):
        return scores_MN
    index = bm25s.BM25(k1=1.5, b=0.75, method="lucene", dtype="float64")
    index.index(documents, show_progress=False)
    for row, terms in enumerate(queries):
        if terms:
            scores_MN[row] = index.get_scores(terms)
    return scores_MN


def _terms(tokenizer: PreTrainedTokenizerBase, corpus: Corpus) -> list[list[str]]:
    unknown = tokenizer.unk_token_id
    return [
        [str(token) for token in ids.tolist() if token != unknown]
        for ids in token_ids(tokenizer, corpus)
    ]
