"""Padding that a loss depends on is found in whichever batch it shows; padding that does no harm is let be."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import builders
import oracle
from sprachbund.errors import GradientError
from sprachbund.gradients.pairwise import pairwise_influence

GENERATOR = torch.Generator().manual_seed(0)


class Pooled(nn.Module):
    """A head on what is pooled of the embeddings [B, T, 8]."""

    def __init__(self, padding_idx=None):
        super().__init__()
        self.embedding = nn.Embedding(builders.VOCABULARY, 8, padding_idx)
        self.head = nn.Linear(8, builders.LABELS)

    def pooled(self, hidden, mask):
        raise NotImplementedError

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
    """The shortest and the longest text, which are compared first, are whole windows."""
    model = WindowsOfFour().double()
    model.embedding.requires_grad_(trainable == "all")
    whole, leaking = of_lengths(4, 8, 12, 8), of_lengths(4, 7, 8, 8)
    pairwise_influence(model, whole, whole)
    with pytest.raises(GradientError, match=r"in a batch of 4: padding leaks"):
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
