"""Tiny random models, a word-level tokenizer and a learnable corpus: nothing to download."""

from pathlib import Path

import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from sprachbund.data.corpus import Corpus

WORDS = {
    "en": ("good", "fine", "nice", "bad", "poor", "awful", "very", "thing"),
    "de": ("gut", "fein", "nett", "schlecht", "arm", "übel", "sehr", "Ding"),
}
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {
        token: i
        for i, token in enumerate((*SPECIAL, *(w for words in WORDS.values() for w in words)))
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


def tiny_model(folder: Path, kind: str = "bert", layers: int = 2, dropout: float = 0.1) -> Path:
    """Write an encoder without a classification head, and its tokenizer."""
    config_class, model_class = {
        "bert": (BertConfig, BertModel),
        "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
    }[kind]
    config = config_class(
        vocab_size=len(SPECIAL) + sum(map(len, WORDS.values())),
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=160,
        type_vocab_size=2,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model_class(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_corpus(items: int = 8, *, pairs: bool = False, name: str = "tiny") -> Corpus:
    """Parallel rows in two languages, positive or negative by their first word."""
    rows = []
    for language, words in WORDS.items():
        for item in range(items):
            word = words[item % 6]
            rows.append(
                {
                    "id": f"{language}-{item:03d}",
                    "language": language,
                    "item": f"{item:03d}",
                    "group": "",
                    "text": " ".join([words[6]] * (item % 3) + [word, words[7]]),
                    "text_pair": words[7] if pairs else "",
                    "label": "positive" if item % 6 < 3 else "negative",
                    "split": "train",
                }
            )
    return Corpus(frame=pd.DataFrame(rows), labels=("negative", "positive"), name=name)
