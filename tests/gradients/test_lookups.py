"""Embeddings that do more than look up what goes in: exact, and read directly."""

import warnings

import pytest
import torch
import torch.nn.functional as F
import transformers as tf
from torch import nn

import builders
import oracle
from sprachbund.errors import SprachbundWarning
from sprachbund.gradients.pairwise import pairwise_influence

TRAIN, TEST = builders.examples(9, seed=1), builders.examples(5, seed=2)


class Clamped(nn.Embedding):
    """Sends ids beyond the table to its last row."""

    def forward(self, input):
        return super().forward(input.clamp(max=self.num_embeddings - 1))


class Counted(nn.Embedding):
    """Looks up how often a token has come before, twice over, and writes into what it found."""

    def forward(self, input):
        before = (input[:, :, None] == input[:, None, :]).tril(-1).sum(2)
        found = super().forward(before)
        found *= 3.0
        return found + F.embedding(before + 1, self.weight, self.padding_idx).tanh()


class Multiplied(nn.Embedding):
    """Uses its table for more than lookups, so that autograd must go through the whole model."""

    def forward(self, input):
        return super().forward(input) + self.weight.mean(0)


def found_and_expected(model):
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    return pairwise_influence(model, train, test), oracle.influence(model, train, test)


@pytest.mark.parametrize(
    "embedding",
    [Clamped(100, 32, padding_idx=1), Counted(64, 32), Counted(64, 32, padding_idx=0)],
    ids=["clamped", "counted", "counted, with a padding row"],
)
def test_an_embedding_that_changes_ids_is_exact_and_not_slow(embedding):
    model = builders.xlm_roberta()
    model.roberta.embeddings.word_embeddings = embedding
    with warnings.catch_warnings():
        warnings.simplefilter("error", SprachbundWarning)  # no slow path
        found, expected = found_and_expected(model.double())
    assert oracle.relative_error(found, expected) < 1e-10


def test_an_embedding_that_uses_its_table_otherwise_is_exact():
    model = builders.xlm_roberta()
    model.roberta.embeddings.word_embeddings = Multiplied(builders.VOCABULARY, 32)
    with pytest.warns(SprachbundWarning, match=r"1 parameters .*word_embeddings"):
        found, expected = found_and_expected(model.double())
    assert oracle.relative_error(found, expected) < 1e-10


def test_positions_that_are_counted_from_a_mask_are_exact_and_not_slow():
    """OPT's positions; BART's are of the same kind."""
    torch.manual_seed(0)
    config = tf.OPTConfig(
        vocab_size=builders.VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=48,
        word_embed_proj_dim=32,
        max_position_embeddings=64,
        num_labels=builders.LABELS,
        pad_token_id=builders.PADDING,
    )
    model = tf.OPTForSequenceClassification(config)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SprachbundWarning)
        found, expected = found_and_expected(model.double())
    assert oracle.relative_error(found, expected) < 1e-10


class Forgetful(nn.Embedding):
    """Has a padding row, and does not say so to the lookup: that row has a gradient like any other."""

    def forward(self, input):
        return F.embedding(input, self.weight)


class FromTheEnd(nn.Embedding):
    """Names a padding row that the module does not have, counted from the end."""

    def forward(self, input):
        return F.embedding(input, self.weight, -(self.num_embeddings - 7))


class ByFrequency(nn.Embedding):
    """A token's gradient is divided by how often the batch has it: nothing of an example alone."""

    def forward(self, input):
        return F.embedding(input, self.weight, scale_grad_by_freq=True)


@pytest.mark.parametrize("from_the_first", [True, False])
@pytest.mark.parametrize("kind", [Forgetful, FromTheEnd])
def test_the_row_without_gradient_is_that_of_the_lookup(kind, from_the_first):
    """Also where no example of the proof has that token: 7 is in the middle of the first batch, or in a later one."""
    model = builders.xlm_roberta().double()
    torch.manual_seed(0)
    padding = {"padding_idx": 7} if kind is Forgetful else {}
    embedding = kind(builders.VOCABULARY, 32, **padding).double()
    torch.nn.init.normal_(embedding.weight)
    model.roberta.embeddings.word_embeddings = embedding
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    for batch in (*train, *test):
        batch["input_ids"][batch["input_ids"] == 7] = 8
    of_batch = train[0] if from_the_first else train[1]
    lengths = of_batch["attention_mask"].sum(1)
    (chosen, *_) = set(range(4)) - {int(lengths.argmax()), int(lengths.argmin())}
    of_batch["input_ids"][chosen, 1] = 7
    test[0]["input_ids"][0, 1] = 7
    with warnings.catch_warnings():
        warnings.simplefilter("error", SprachbundWarning)
        found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


def test_a_gradient_by_frequency_is_left_to_autograd():
    model = builders.xlm_roberta().double()
    model.roberta.embeddings.word_embeddings = ByFrequency(builders.VOCABULARY, 32).double()
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with pytest.warns(SprachbundWarning, match=r"1 parameters .*word_embeddings"):
        found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10
