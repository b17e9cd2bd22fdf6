"""Which parameters are embeddings, layers and head, on the shapes that transformers come in."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from architectures import ARCHITECTURES
from sprachbund.gradients.module_groups import module_groups

HEADS = {
    "bert": {"bert.pooler.dense", "classifier"},
    "xlm-roberta": {"classifier.dense", "classifier.out_proj"},  # defined before the backbone
    "distilbert": {"pre_classifier", "classifier"},
    "electra": {"classifier.dense", "classifier.out_proj"},
    "modernbert": {"model.final_norm", "head.dense", "head.norm", "classifier"},
    "gpt2": {"transformer.ln_f", "score"},
    "bloom": {"transformer.ln_f", "score"},
    "qwen2": {"model.norm", "score"},
    "mixtral": {"model.norm", "score"},
}
EMBEDDINGS = {
    "bert": {"word_embeddings", "position_embeddings", "token_type_embeddings", "LayerNorm"},
    "xlm-roberta": {"word_embeddings", "position_embeddings", "token_type_embeddings", "LayerNorm"},
    "distilbert": {"word_embeddings", "position_embeddings", "LayerNorm"},
    "electra": {
        *("word_embeddings", "position_embeddings", "token_type_embeddings", "LayerNorm"),
        "embeddings_project",
    },
    "modernbert": {"tok_embeddings", "norm"},
    "gpt2": {"wte", "wpe"},
    "bloom": {"word_embeddings", "word_embeddings_layernorm"},
    "qwen2": {"embed_tokens"},
    "mixtral": {"embed_tokens"},
}


def modules_of(groups: dict[str, str], group: str) -> set[str]:
    return {name.rpartition(".")[0] for name, of in groups.items() if of == group}


@pytest.mark.parametrize("name", HEADS)
def test_embeddings_layers_and_head_are_told_apart(name):
    model = ARCHITECTURES[name].model(torch.float32)
    groups = module_groups(model)
    assert list(groups) == [name for name, _ in model.named_parameters()]
    assert set(groups.values()) == {"embeddings", "layer 0", "layer 1", "head"}
    assert modules_of(groups, "head") == HEADS[name]
    embeddings = {module.rpartition(".")[2] for module in modules_of(groups, "embeddings")}
    assert embeddings == EMBEDDINGS[name]
    for layer in ("0", "1"):
        assert all(f".{layer}." in module for module in modules_of(groups, f"layer {layer}"))


def test_encoder_and_decoder_have_layers_of_their_own():
    groups = module_groups(ARCHITECTURES["mt5"].model(torch.float32))
    assert set(groups.values()) == {
        *("embeddings", "head"),
        *(f"{stack}.block layer {i}" for stack in ("encoder", "decoder") for i in range(2)),
    }


def test_layers_that_are_one_are_one_group():
    groups = module_groups(ARCHITECTURES["albert"].model(torch.float32))
    assert set(groups.values()) == {"embeddings", "layer 0", "head"}
    assert "albert.encoder.embedding_hidden_mapping_in" in modules_of(groups, "embeddings")


def test_adapters_belong_to_the_layer_that_they_adapt():
    model = ARCHITECTURES["xlm-roberta"].model(torch.float32)
    config = LoraConfig(r=2, target_modules=r".*\bquery", modules_to_save=["classifier"])
    groups = module_groups(get_peft_model(model, config))
    trained = {group for name, group in groups.items() if "lora" in name}
    assert trained == {"layer 0", "layer 1"}
    assert {group for name, group in groups.items() if "classifier" in name} == {"head"}


def test_a_model_without_layers_is_embeddings_and_head():
    model = nn.Sequential(nn.Embedding(5, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    assert set(module_groups(model).values()) == {"embeddings", "head"}
    assert modules_of(module_groups(model), "embeddings") == {"0"}
