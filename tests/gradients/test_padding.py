"""Padding that a loss depends on is found in whichever batch it shows; padding that does no harm is let be."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import transformers as tf
from torch import nn

import builders
import oracle
from sprachbund.errors import GradientError
from sprachbund.gradients.pairwise import pairwise_influence

GENERATOR = torch.Generator().manual_seed(0)


class Pooled(nn.Module):
    """A head on what its kinds pool of the embeddings [B, T, 8]."""

    def __init__(self, padding_idx=None):
        super().__init__()
        self.embedding = nn.Embedding(builders.VOCABULARY, 8, padding_idx)
        self.head = nn.Linear(8, builders.LABELS)

    def forward(self, input_ids, attention_mask, labels):
        logits = self.head(self.pooled(self.embedding(input_ids), attention_mask))
        return SimpleNamespace(logits=logits, loss=F.cross_entropy(logits, labels))


class WindowsOfFour(Pooled):
    """Heeds each window of four tokens in which one is real: as CANINE, it leaks where these are not full."""

    def pooled(self, hidden, mask):
        heeded = F.max_pool1d(mask[:, None].double(), 4, ceil_mode=True)[:, 0]
        heeded = heeded.repeat_interleave(4, 1)[:, : hidden.shape[1], None]
        return (hidden * heeded).sum(1)


class SumOfAll(Pooled):
    """Adds padding up, too: nothing, where its embedding is zero."""

    def pooled(self, hidden, mask):
        return hidden.sum(1)


def of_lengths(*lengths):
    rows = [
        {
            "input_ids": torch.randint(5, builders.VOCABULARY, (length,), generator=GENERATOR),
            "labels": torch.randint(0, builders.LABELS, (), generator=GENERATOR),
        }
        for length in lengths
    ]
    return [builders.collate(rows)]


@pytest.mark.parametrize("trainable", ["all", "the head"])
def test_padding_that_leaks_for_one_length_only_is_an_error(trainable):
    """Also where no embedding is attributed, whose gradient would show it."""
    model = WindowsOfFour().double()
    model.embedding.requires_grad_(trainable == "all")
    whole, leaking = of_lengths(4, 8, 12, 8), of_lengths(4, 7, 8, 8)
    pairwise_influence(model, whole, whole)
    with pytest.raises(GradientError, match=r"in a batch of 3: padding leaks"):
        pairwise_influence(model, leaking, leaking)


def test_padding_that_leaks_in_a_later_batch_is_an_error():
    model = WindowsOfFour().double()
    with pytest.raises(GradientError, match=r"in a batch of 3: padding leaks"):
        pairwise_influence(model, of_lengths(4, 8, 12) + of_lengths(4, 6, 8), of_lengths(4, 8))


def test_padding_that_adds_nothing_does_no_harm():
    """The loss has a gradient at the padding, and still does not change with it."""
    model = SumOfAll(padding_idx=builders.PADDING).double()
    train, test = of_lengths(3, 5, 8, 4) + of_lengths(2, 9), of_lengths(6, 2, 7)
    found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


def test_canine_is_refused_with_padding_and_exact_without():
    """Four characters become one: what follows a text's last ones depends on the batch, without a gradient there."""
    torch.manual_seed(0)
    config = tf.CanineConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        num_labels=builders.LABELS,
        local_transformer_stride=8,
        num_hash_buckets=64,
        num_hash_functions=2,
        pad_token_id=builders.PADDING,
    )
    model = tf.CanineForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    unpadded = of_lengths(8, 8, 8) + of_lengths(6, 6)
    found = pairwise_influence(model, unpadded, unpadded)
    assert oracle.relative_error(found, oracle.influence(model, unpadded, unpadded)) < 1e-5
    with pytest.raises(GradientError, match="padding leaks"):
        pairwise_influence(model, of_lengths(4, 6, 7, 8), of_lengths(8, 8))
