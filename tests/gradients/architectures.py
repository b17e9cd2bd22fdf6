"""Tiny random models of many architectures, with batches that each can read: the subjects of the exactness suite."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers as tf
from torch import nn

from builders import LABELS, SHAPE, VOCABULARY

PADDING, END = 0, 1
_ENDS = dict(bos_token_id=2, eos_token_id=END, cls_token_id=2, sep_token_id=END)
_SHAPE = SHAPE | dict(pad_token_id=PADDING)
_DECODER = _SHAPE | dict(num_key_value_heads=2, head_dim=8, bos_token_id=2, eos_token_id=END)
_MT5 = dict(
    vocab_size=VOCABULARY,
    d_model=32,
    d_kv=8,
    d_ff=48,
    num_layers=2,
    num_decoder_layers=2,
    num_heads=4,
    num_labels=LABELS,
    pad_token_id=PADDING,
    eos_token_id=END,
    decoder_start_token_id=PADDING,
)
_GPT2 = dict(
    vocab_size=VOCABULARY,
    n_embd=32,
    n_layer=2,
    n_head=4,
    n_positions=64,
    num_labels=LABELS,
    pad_token_id=PADDING,
    bos_token_id=2,
    eos_token_id=END,
)
_ALBERT = _SHAPE | dict(embedding_size=16, num_hidden_layers=3)
_DEBERTA = dict(
    relative_attention=True,
    position_buckets=8,
    max_relative_positions=-1,
    pos_att_type=["p2c", "c2p"],
    norm_rel_ebd="layer_norm",
    share_att_key=True,
    position_biased_input=False,
    type_vocab_size=0,
)


class PooledMT5Encoder(nn.Module):
    """A classifier over the mean of an mT5 encoder's states."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = tf.MT5EncoderModel(tf.MT5Config(**_MT5))
        self.head = nn.Linear(32, LABELS)

    def forward(self, input_ids, attention_mask, labels=None):
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        weight = attention_mask[:, :, None] / attention_mask.sum(1)[:, None, None]
        logits = self.head((states * weight).sum(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return tf.modeling_outputs.SequenceClassifierOutput(loss=loss, logits=logits)


def _classifier(config: tf.PreTrainedConfig) -> Callable[[], nn.Module]:
    return lambda: tf.AutoModelForSequenceClassification.from_config(config)


@dataclass(frozen=True)
class Architecture:
    """How to make a tiny random model of it, and which linear maps LoRA adapts."""

    make: Callable[[], nn.Module]
    adapted: str

    def model(self, dtype: torch.dtype) -> nn.Module:
        torch.manual_seed(0)
        model = self.make().to(dtype).train()
        with torch.no_grad():  # norms that start at 1 or 0 would hide a missing factor or term
            for parameter in model.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
        return model


ARCHITECTURES = {
    "bert": Architecture(_classifier(tf.BertConfig(**_SHAPE)), "query|value"),
    "xlm-roberta": Architecture(_classifier(tf.XLMRobertaConfig(**_SHAPE)), "query|value"),
    "x-mod": Architecture(
        _classifier(
            tf.XmodConfig(**_SHAPE, languages=["en_XX", "de_DE"], default_language="en_XX")
        ),
        "query|value",
    ),
    "rembert": Architecture(
        _classifier(tf.RemBertConfig(**_SHAPE, input_embedding_size=16, output_embedding_size=16)),
        "query|value",
    ),
    "longformer": Architecture(
        _classifier(tf.LongformerConfig(**_SHAPE, attention_window=8, sep_token_id=END)),
        "query|value",
    ),
    "distilbert": Architecture(
        _classifier(
            tf.DistilBertConfig(
                vocab_size=VOCABULARY,
                dim=32,
                n_layers=2,
                n_heads=4,
                hidden_dim=48,
                max_position_embeddings=64,
                num_labels=LABELS,
                pad_token_id=PADDING,
            )
        ),
        "q_lin|v_lin",
    ),
    "electra": Architecture(
        _classifier(tf.ElectraConfig(**_SHAPE, embedding_size=16)), "query|value"
    ),
    "deberta-v2": Architecture(
        _classifier(tf.DebertaV2Config(**_SHAPE | _DEBERTA)), "query_proj|value_proj"
    ),
    "albert": Architecture(_classifier(tf.AlbertConfig(**_ALBERT)), "query|value"),
    "modernbert": Architecture(
        _classifier(
            tf.ModernBertConfig(
                **_SHAPE,
                **_ENDS,
                global_attn_every_n_layers=2,
                local_attention=8,
                reference_compile=False,
            )
        ),
        "Wqkv",
    ),
    "roformer": Architecture(
        _classifier(tf.RoFormerConfig(**_SHAPE, embedding_size=16)), "query|value"
    ),
    "mpnet": Architecture(_classifier(tf.MPNetConfig(**_SHAPE)), "q|v"),
    "mt5-encoder": Architecture(PooledMT5Encoder, "q|v"),
    "mt5": Architecture(_classifier(tf.MT5Config(**_MT5)), "q|v"),
    "umt5": Architecture(_classifier(tf.UMT5Config(**_MT5)), "q|v"),
    "mbart": Architecture(
        _classifier(
            tf.MBartConfig(
                vocab_size=VOCABULARY,
                d_model=32,
                encoder_layers=2,
                decoder_layers=2,
                encoder_attention_heads=4,
                decoder_attention_heads=4,
                encoder_ffn_dim=48,
                decoder_ffn_dim=48,
                max_position_embeddings=64,
                num_labels=LABELS,
                pad_token_id=PADDING,
                bos_token_id=2,
                eos_token_id=END,
            )
        ),
        "q_proj|v_proj",
    ),
    "gpt2": Architecture(_classifier(tf.GPT2Config(**_GPT2)), "c_attn"),
    "bloom": Architecture(
        _classifier(
            tf.BloomConfig(
                vocab_size=VOCABULARY,
                hidden_size=32,
                n_layer=2,
                n_head=4,
                num_labels=LABELS,
                pad_token_id=PADDING,
            )
        ),
        "query_key_value",
    ),
    "xglm-lm": Architecture(
        lambda: tf.XGLMForCausalLM(
            tf.XGLMConfig(
                vocab_size=VOCABULARY,
                d_model=32,
                ffn_dim=48,
                num_layers=2,
                attention_heads=4,
                max_position_embeddings=64,
                pad_token_id=PADDING,
            )
        ),
        "q_proj|v_proj",
    ),
    "llama": Architecture(_classifier(tf.LlamaConfig(**_DECODER)), "q_proj|v_proj"),
    "qwen2": Architecture(_classifier(tf.Qwen2Config(**_DECODER)), "q_proj|v_proj"),
    "qwen3": Architecture(_classifier(tf.Qwen3Config(**_DECODER)), "q_proj|v_proj"),
    "gemma": Architecture(_classifier(tf.GemmaConfig(**_DECODER)), "q_proj|v_proj"),
    "gemma3": Architecture(
        lambda: tf.Gemma3TextForSequenceClassification(tf.Gemma3TextConfig(**_DECODER)),
        "q_proj|v_proj",
    ),
    "mixtral": Architecture(
        _classifier(
            tf.MixtralConfig(
                **_DECODER,
                num_local_experts=4,
                num_experts_per_tok=2,
                experts_implementation="eager",
            )
        ),
        "q_proj|v_proj",
    ),
    "qwen2-lm, tied": Architecture(
        lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**_DECODER, tie_word_embeddings=True)),
        "q_proj|v_proj",
    ),
    "bert-mlm, tied": Architecture(lambda: tf.BertForMaskedLM(tf.BertConfig(**_SHAPE)), "query"),
}


def is_language_model(name: str) -> bool:
    return "-lm" in name or "-mlm" in name


def collate(rows: list[dict[str, torch.Tensor]], name: str) -> dict[str, torch.Tensor]:
    """Right-padded, each example closed by one end-of-sequence token; token labels for language models."""
    longest = max(len(row["input_ids"]) for row in rows) + 1
    ids = torch.full((len(rows), longest), PADDING)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for position, row in enumerate(rows):
        length = len(row["input_ids"])
        ids[position, :length] = row["input_ids"]
        ids[position, length] = END
        mask[position, : length + 1] = 1
    labels = torch.stack([row["labels"] for row in rows])
    if is_language_model(name):
        labels = torch.where(mask.bool() & (ids % 2 == 0), ids, -100)
        labels[:, 2] = ids[:, 2]  # at least one labelled token each
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
