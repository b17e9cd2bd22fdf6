import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel, ValidationError
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast

from sprachbund import modeling
from sprachbund.errors import ModelError, SprachbundWarning
from sprachbund.modeling import (
    Encoder,
    ModelConfig,
    collate,
    encode,
    load_classifier,
    load_tokenizer,
)
from tiny_models import tiny_corpus, tiny_model, tiny_tokenizer

LABELS = ("negative", "positive")


@pytest.fixture(params=["bert", "xlm-roberta"])
def model(request, tmp_path) -> Path:
    return tiny_model(tmp_path / request.param, request.param)


def classifier(path: Path, labels=LABELS, seed: int = 0, **options):
    return load_classifier(ModelConfig(path=str(path), **options), labels, seed)


class Study(BaseModel):
    model: ModelConfig


def test_a_plain_string_is_the_path_of_a_model():
    assert Study(model="xlm-roberta-base").model == ModelConfig(path="xlm-roberta-base")
    assert Study(model={"path": "m", "max_length": 64}).model.max_length == 64
    with pytest.raises(ValidationError, match="layers"):
        Study(model={"path": "m", "layers": 6})


def test_a_classifier_is_ready_for_evaluation_and_knows_its_labels(model):
    loaded = classifier(model)
    assert not loaded.training
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert loaded.config.id2label == {0: "negative", 1: "positive"}
    assert loaded.config.label2id == {"negative": 0, "positive": 1}


def test_the_head_depends_on_the_seed_alone(model):
    before = torch.random.get_rng_state()
    one, again, other = classifier(model), classifier(model), classifier(model, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before), (
        "the caller's randomness was disturbed"
    )
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True)]
    assert all(same)
    differing = {
        name
        for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert differing
    assert all(name.startswith("classifier") for name in differing)


def test_half_precision_weights_are_loaded_in_float32(model):
    path = model / "model.safetensors"
    weights = {name: weight.half() for name, weight in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    assert {p.dtype for p in classifier(model).parameters()} == {torch.float32}


def test_the_lowest_layers_can_be_kept(model):
    whole, lower = classifier(model), classifier(model, num_hidden_layers=1)
    assert lower.config.num_hidden_layers == 1
    assert torch.equal(
        next(whole.base_model.encoder.layer[0].parameters()),
        next(lower.base_model.encoder.layer[0].parameters()),
    )
    with pytest.raises(ModelError, match="num_hidden_layers is 3, but the model has only 2"):
        classifier(model, num_hidden_layers=3)


def test_an_input_longer_than_the_model_reads_is_refused(tmp_path):
    classifier(tiny_model(tmp_path / "bert"), max_length=160)
    roberta = tiny_model(tmp_path / "roberta", "xlm-roberta")
    classifier(roberta, max_length=158)
    with pytest.raises(ModelError, match="max_length is 159, but the model reads at most 158"):
        classifier(roberta, max_length=159)


def test_loading_prints_nothing_and_warns_of_nothing(model, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier(model)
        load_tokenizer(model)
    assert capfd.readouterr() == ("", "")


def test_a_backbone_parameter_missing_from_the_weights_is_named(model):
    path = model / "model.safetensors"
    weights = load_file(path)
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.warns(SprachbundWarning, match=r"encoder\.layer\.0\.output\.dense\.weight"):
        classifier(model)


def test_weights_of_another_model_are_refused(model):
    save_file({"w": torch.zeros(1)}, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="hold none of the parameters of"):
        classifier(model)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: shutil.rmtree(m), "no such model folder"),
        (lambda m: (m / "config.json").unlink(), r"not a model folder: it has no config\.json"),
        (lambda m: (m / "config.json").write_text("{"), "the model cannot be loaded"),
        (lambda m: (m / "config.json").write_text('{"model_type": "x"}'), "cannot be loaded"),
        (lambda m: (m / "model.safetensors").unlink(), "has no weights"),
        (lambda m: (m / "model.safetensors").write_bytes(b"\0" * 99), r"model\.safetensors: dama"),
        (lambda m: shrink(m), "cannot be loaded"),
    ],
)
def test_a_folder_that_is_no_whole_model_is_refused_in_one_line(model, damage, message):
    damage(model)
    with pytest.raises(ModelError, match=message) as error:
        classifier(model)
    assert str(model) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_or_an_unreachable_name_is_no_model(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="a file, but a model is a folder"):
        classifier(tmp_path / "file")
    for load in (classifier, load_tokenizer):
        with pytest.raises(ModelError, match="misspelt, or no network"):
            load("nobody/no-such-model")


def test_a_folder_without_a_tokenizer_is_refused(model):
    for file in model.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="no tokenizer found"):
        load_tokenizer(model)


def test_a_broken_tokenizer_is_refused(model):
    (model / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="the tokenizer cannot be loaded"):
        load_tokenizer(model)


def test_a_classifier_of_other_labels_is_refused(model, tmp_path):
    classifier(model).save_pretrained(tmp_path / "two")
    assert classifier(tmp_path / "two", LABELS)
    with pytest.raises(ModelError, match=r"a classifier of 2 labels .* the data has 3 \(a, b, c\)"):
        classifier(tmp_path / "two", ("a", "b", "c"))
    with pytest.raises(ModelError, match="in order, negative, positive, but those of the data are"):
        classifier(tmp_path / "two", ("positive", "negative"))


def test_a_classifier_of_unnamed_labels_takes_those_of_the_data(model, tmp_path):
    classifier(model, ("LABEL_0", "LABEL_1")).save_pretrained(tmp_path / "two")
    assert classifier(tmp_path / "two").config.id2label[1] == "positive"


def test_a_tokenizer_without_padding_pads_with_its_end_token(tmp_path):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer().backend_tokenizer, eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(tmp_path)
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 160}
    GPT2Model(GPT2Config(vocab_size=24, eos_token_id=2, **sizes)).save_pretrained(tmp_path)
    with pytest.warns(SprachbundWarning, match="its end token pads instead"):
        loaded = load_tokenizer(tmp_path)
    assert loaded.pad_token == "</s>"
    model = classifier(tmp_path)
    assert model.config.pad_token_id == 2
    batch = collate(encode(tiny_corpus(4), loaded, 16), loaded)
    assert model(**batch).logits.shape == (8, 2)


@pytest.mark.parametrize("pairs", [False, True])
def test_encoding_is_that_of_the_tokenizer_row_by_row(pairs):
    corpus, tokenizer = tiny_corpus(pairs=pairs), tiny_tokenizer()
    rows = encode(corpus, tokenizer, 16)
    for row, (_, source) in zip(rows, corpus.frame.iterrows(), strict=True):
        expected = tokenizer(source["text"], source["text_pair"] if pairs else None)
        assert row["input_ids"] == expected["input_ids"]
        assert row["attention_mask"] == expected["attention_mask"]
        assert corpus.labels[row["labels"]] == source["label"]


def test_a_row_without_a_pair_stays_single_among_pairs():
    corpus = tiny_corpus(pairs=True)
    corpus.frame.loc[1, "text_pair"] = ""
    rows = encode(corpus, tiny_tokenizer(), 16)
    assert rows[1]["input_ids"] == tiny_tokenizer()(corpus.frame.loc[1, "text"])["input_ids"]
    assert rows[0]["input_ids"].count(2) == 3


def test_truncation_is_counted_and_keeps_the_special_tokens():
    corpus = tiny_corpus(6)
    with pytest.warns(SprachbundWarning, match="tiny: 4 of 12 examples are longer than 5 tokens"):
        rows = encode(corpus, tiny_tokenizer(), 5)
    assert max(len(row["input_ids"]) for row in rows) == 5
    assert all(row["input_ids"][0] == 0 and row["input_ids"][-1] == 2 for row in rows)


def test_a_batch_is_padded_to_its_longest_row():
    tokenizer = tiny_tokenizer()
    rows = encode(tiny_corpus(6), tokenizer, 16)
    batch = collate(rows, tokenizer)
    assert batch["input_ids"].shape == (12, 6)
    assert batch["attention_mask"].sum(1).tolist() == [len(row["input_ids"]) for row in rows]
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 1).all()
    assert batch["labels"].tolist() == [row["labels"] for row in rows]


def test_the_real_model_loads_without_a_word(shared_data, capfd):
    path = shared_data / "model" / "me5-small-trimmed"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer = load_tokenizer(path)
        model = classifier(path, num_hidden_layers=2)
    assert capfd.readouterr() == ("", "")
    batch = tokenizer(["Whose data is it?", "どのデータ?"], padding=True, return_tensors="pt")
    assert model(**batch).logits.shape == (2, 2)


def shrink(model: Path) -> None:
    """Let the configuration contradict the shapes of the weights."""
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "intermediate_size": 8}))


@pytest.mark.filterwarnings("ignore:.*truncated")
def test_an_encoder_returns_what_encode_does_and_tokenises_each_text_once(model, monkeypatch):
    tokenizer, corpus, tokenised = load_tokenizer(model), tiny_corpus(6), []
    tokenize = modeling._tokenize
    monkeypatch.setattr(
        modeling,
        "_tokenize",
        lambda tokenizer, texts, pairs, **options: (
            tokenised.extend(texts if not options else ())
            or tokenize(tokenizer, texts, pairs, **options)
        ),
    )
    encoder = Encoder(tokenizer, 4)
    for part in (corpus.take([3, 1]), corpus, corpus.take([0, 1, 2])):
        rows, by_encoder = encoder(part), len(tokenised)
        assert rows == encode(part, tokenizer, 4)
        del tokenised[by_encoder:]  # what the reference did is not counted
    assert sorted(tokenised) == sorted(set(corpus.frame["text"]))
