"""Exact influence against its floor for one architecture after another, each with four layers of width 256.

python benchmarks/architectures.py [--only bert,llama] [--train 128] [--tests 16] [--tokens 128] [--repeat 3]

The floor is a plain forward and backward epoch over the same training and test examples, in the same run, in turns.
"Slow": how many parameters are differentiated one example at a time. Random weights, every text of full length, one
thread, float32.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from shapes import Shape, batches, lengths_of, plain_epoch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from sprachbund import SprachbundWarning, pairwise_influence
from sprachbund.gradients.engine import GradientEngine

_END = 2
_SHAPE = Shape(layers=4, width=256, heads=4, vocabulary=32_000)
_ENCODER = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}
_DECODER = {**_ENCODER, "num_key_value_heads": 4, "head_dim": 64}
_T5 = {"d_model": 256, "d_ff": 1024, "num_layers": 4, "num_heads": 4, "d_kv": 64}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "xlm-roberta": {**_ENCODER, "max_position_embeddings": 514},
    "bert": _ENCODER,
    "electra": {**_ENCODER, "embedding_size": 256},
    "albert": {**_ENCODER, "embedding_size": 128},
    "distilbert": {"dim": 256, "n_layers": 4, "n_heads": 4, "hidden_dim": 1024},
    "modernbert": _ENCODER,
    "deberta-v2": {
        **_ENCODER,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 64,
    },
    "mt5": _T5,
    "gpt2": {"n_embd": 256, "n_layer": 4, "n_head": 4},
    "bloom": {"hidden_size": 256, "n_layer": 4, "n_head": 4},
    "llama": _DECODER,
    "qwen3": _DECODER,
    "gemma": _DECODER,
    "mixtral": {**_DECODER, "num_local_experts": 4, "num_experts_per_tok": 2},
}


def _model(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    given = {
        "vocab_size": _SHAPE.vocabulary,
        "num_labels": 3,
        "pad_token_id": 1,
        "eos_token_id": _END,
    }
    config = AutoConfig.for_model(name, **given, **CONFIGURATIONS[name])
    return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).eval()


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(CONFIGURATIONS))
    parser.add_argument("--train", type=int, default=128)
    parser.add_argument("--tests", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", SprachbundWarning)  # a column says it
    train, test = (
        batches(_SHAPE, lengths_of(count, options.tokens, "full", seed), 32, seed)
        for seed, count in ((1, options.train), (2, options.tests))
    )
    for batch in (*train, *test):
        batch["input_ids"][:, -1] = _END  # what mT5 reads
    print(f"N={options.train} M={options.tests} T={options.tokens}, medians of {options.repeat}")
    print(
        f"{'architecture':14} {'parameters':>11} {'slow':>5} {'floor s':>8} {'ours s':>7} {'ratio':>6}"
    )
    for name in options.only.split(","):
        model = _model(name)
        with GradientEngine(model) as engine:
            engine.per_example(train[0], lambda _name, _gradient: None)
            slow = len(engine.parameters_by_autograd)
        floor, ours = [], []
        for _ in range(options.repeat):
            floor.append(_seconds(lambda: plain_epoch(model, [*train, *test])))  # noqa: B023
            model.zero_grad(set_to_none=True)
            ours.append(_seconds(lambda: pairwise_influence(model, train, test, "cosine")))  # noqa: B023
        a, b = statistics.median(floor), statistics.median(ours)
        size = sum(parameter.numel() for parameter in model.parameters())
        print(f"{name:14} {size:>11,} {slow:>5} {a:>8.2f} {b:>7.2f} {b / a:>6.2f}", flush=True)


if __name__ == "__main__":
    main()
