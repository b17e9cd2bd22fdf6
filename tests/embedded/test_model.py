"""The embedded model: small, unpacked alike every time, tokenised like the original, and it transfers."""

import hashlib
import json
from importlib.resources import files

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sprachbund.embedded.emoji import emoji_corpus, emoji_frame
from sprachbund.embedded.model import STAMP, unpack_model
from sprachbund.errors import ModelError

LARGEST_MEGABYTES = 16
# Measured: see docs/embedded-model.md. Below this, what was learned in English no longer transfers.
LEAST_TRANSFER = 0.50


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return unpack_model(tmp_path_factory.mktemp("embedded") / "model")


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_assets_are_small():
    assets = files("sprachbund.embedded") / "assets"
    nbytes = sum(len(asset.read_bytes()) for asset in assets.iterdir())
    assert nbytes < LARGEST_MEGABYTES * 1e6


def test_unpacking_gives_the_same_bytes_every_time(folder, tmp_path):
    assert digests(unpack_model(tmp_path / "again")) == digests(folder)


def test_an_unpacked_model_is_used_again(folder):
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert unpack_model(folder) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.parametrize("damage", ["truncated", "another version", "file lost"])
def test_a_damaged_or_older_model_is_replaced(folder, tmp_path, damage):
    target = unpack_model(tmp_path / "model")
    if damage == "truncated":
        (target / "model.safetensors").write_bytes(b"half")
    elif damage == "file lost":
        (target / "tokenizer.json").unlink()
    else:
        stamp = json.loads((target / STAMP).read_text())
        (target / STAMP).write_text(json.dumps({**stamp, "assets": "older"}))
    assert digests(unpack_model(target)) == digests(folder)


def test_nothing_is_left_beside_the_model(tmp_path):
    unpack_model(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_with_other_files_is_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ModelError, match="name another folder"):
        unpack_model(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        unpack_model(tmp_path / "file" / "model")


def test_the_licence_travels_with_the_model(folder):
    text = (folder / "LICENSE").read_text(encoding="utf-8")
    assert "MIT License" in text
    assert "Microsoft" in text


def test_special_tokens_are_where_the_model_expects_them(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert tokenizer.unk_token_id == 3
    assert tokenizer.mask_token_id == len(tokenizer) - 1
    assert tokenizer("fish", "cake")["input_ids"].count(2) == 3, "<s> a </s></s> b </s>"


def test_nothing_but_the_classifier_is_new(folder):
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=9, output_loading_info=True
    )
    assert set(loading["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    assert not loading["unexpected_keys"]
    assert len(AutoTokenizer.from_pretrained(folder)) == model.config.vocab_size


def test_no_name_of_an_emoji_is_cut_short_or_mostly_unknown(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    encodings = tokenizer.encode_batch(emoji_frame()["text"].tolist())
    assert max(len(encoding.ids) for encoding in encodings) <= 32
    assert sum(3 in encoding.ids for encoding in encodings) <= 6


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("grinning face", ["<s>", "▁grin", "ning", "▁face", "</s>"]),
        ("grinsendes gesicht", ["<s>", "▁grin", "sende", "s", "▁ge", "sicht", "</s>"]),
        ("활짝 웃는 얼굴", ["<s>", "▁", "활", "짝", "▁웃", "는", "▁얼굴", "</s>"]),
        ("وجه بابتسامة عريضة", ["<s>", "▁وجه", "▁ب", "ابتسام", "ة", "▁ع", "ري", "ضة", "</s>"]),
    ],
)
def test_tokens_are_those_of_the_original(folder, text, pieces):
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).tokens == pieces


def test_names_are_tokenised_as_by_the_full_tokenizer(folder, shared_data):
    full = Tokenizer.from_file(str(shared_data / "model/me5-small-trimmed/tokenizer.json"))
    trimmed = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = emoji_frame()["text"].tolist()
    pairs = zip(full.encode_batch(texts), trimmed.encode_batch(texts), strict=True)
    differing = [a.tokens for a, b in pairs if a.tokens != b.tokens]
    assert not differing


@pytest.mark.slow
def test_what_is_learned_in_english_transfers_to_13_languages(folder):
    accuracy = english_only_accuracy(folder, seed=0)
    others = [value for language, value in accuracy.items() if language != "en"]
    assert sum(others) / len(others) >= LEAST_TRANSFER, accuracy


def english_only_accuracy(folder, *, seed, epochs=4, rate=3e-4, batch=16):
    """Accuracy by language of the test items after fine-tuning on the English training items alone."""
    corpus = emoji_corpus()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    train, test = corpus.select(split="train", languages=["en"]), corpus.select(split="test")
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=9)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    steps = epochs * -(-len(train) // batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)

    def logits(texts):
        encodings = tokenizer.encode_batch(texts)
        ids = torch.tensor([encoding.ids for encoding in encodings])
        mask = torch.tensor([encoding.attention_mask for encoding in encodings])
        return model(input_ids=ids, attention_mask=mask).logits

    model.train()
    texts, labels = train.frame["text"].tolist(), torch.tensor(train.label_index)
    for _ in range(epochs):
        for rows in torch.randperm(len(train)).split(batch):
            loss = torch.nn.functional.cross_entropy(logits([texts[i] for i in rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    texts = test.frame["text"].tolist()
    with torch.no_grad():
        predicted = torch.cat(
            [logits(texts[i : i + 256]).argmax(1) for i in range(0, len(texts), 256)]
        )
    correct = test.frame.assign(correct=predicted.numpy() == test.label_index)
    return correct.groupby("language")["correct"].mean().to_dict()
