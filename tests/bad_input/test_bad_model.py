"""Models that cannot be fine-tuned on the data of a study."""

import json
import shutil

from mistakes import RUN_ELSEWHERE, Mistake, check, each
from transformers import BertConfig, BertForSequenceClassification


def keys(**changed):
    return lambda study: study.set(**changed)


def without(*names: str):
    def make(study):
        for name in names:
            (study.folder / "model" / name).unlink(missing_ok=True)

    return make


def truncated_weights(study):
    weights = study.folder / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def another_label_count(study):
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, num_labels=5
    )
    BertForSequenceClassification(config).save_pretrained(study.folder / "model")


def broken_configuration(study):
    study.write("model/config.json", "{")


def unknown_architecture(study):
    study.write("model/config.json", json.dumps({"model_type": "nobert"}))


def empty_folder(study):
    shutil.rmtree(study.folder / "model")
    (study.folder / "model").mkdir()


MISTAKES = [
    Mistake(
        "a folder that does not exist",
        keys(model="./modle"),
        ("./modle: no such model folder", "did you mean model?"),
        RUN_ELSEWHERE,
    ),
    Mistake(
        "a folder without a model", empty_folder, ("model: not a model folder",), RUN_ELSEWHERE
    ),
    Mistake(
        "a file",
        keys(model="train.jsonl"),
        ("train.jsonl: a file, but a model is a folder",),
        RUN_ELSEWHERE,
    ),
    Mistake(
        "a hub name without a network",
        keys(model="nobody/no-such-model"),
        ("nobody/no-such-model: no such folder", "no network"),
        RUN_ELSEWHERE,
    ),
    Mistake(
        "no tokenizer",
        without("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
        ("model: no tokenizer found", "tokenizer.save_pretrained()"),
        RUN_ELSEWHERE,
    ),
    Mistake(
        "another number of labels",
        another_label_count,
        ("model: a classifier of 5 labels", "but the data has 2 (negative, positive)"),
        RUN_ELSEWHERE,
    ),
    Mistake(
        "truncated weights",
        truncated_weights,
        ("model/model.safetensors: damaged", "save or download the model again"),
        RUN_ELSEWHERE,
    ),
    Mistake("no weights", without("model.safetensors"), ("model: has no weights",), RUN_ELSEWHERE),
    Mistake(
        "a broken configuration", broken_configuration, ("model", "config.json"), RUN_ELSEWHERE
    ),
    Mistake("an unknown architecture", unknown_architecture, ("model", "nobert"), RUN_ELSEWHERE),
    Mistake(
        "fewer layers than asked",
        keys(model={"path": "model", "num_hidden_layers": 9}),
        ("model: num_hidden_layers is 9, but the model has only 2",),
        RUN_ELSEWHERE,
    ),
    Mistake(
        "longer texts than it reads",
        keys(model={"path": "model", "max_length": 500}),
        ("model: max_length is 500, but the model reads at most 160 tokens",),
        RUN_ELSEWHERE,
    ),
    Mistake(
        "a plan for a model that is not there",
        keys(model="./modle"),
        ("./modle: no such model folder",),
        ("plan", "study.yaml"),
    ),
]


@each(MISTAKES)
def test_a_model_that_does_not_fit_is_told_in_one_line_and_loses_nothing(study, mistake):
    check(study, mistake)
