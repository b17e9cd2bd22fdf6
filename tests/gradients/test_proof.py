"""What the engine proves before it scores, and what it must not take for proven."""

import warnings
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import builders
import oracle
from sprachbund.errors import GradientError, SprachbundWarning
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.one_pass import Pass
from sprachbund.gradients.pairwise import pairwise_influence
from sprachbund.gradients.per_example import DenseGradient

TRAIN, TEST = builders.examples(9, seed=1), builders.examples(5, seed=2)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_rounding_noise_in_a_vanishing_gradient_is_not_taken_for_an_error(dtype, scale):
    """Key biases have zero gradient in theory: with large gradients elsewhere they hold only noise."""
    model = builders.xlm_roberta(dtype)
    with torch.no_grad():
        model.classifier.out_proj.weight *= scale
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SprachbundWarning)
        found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < TOLERANCE[dtype]


@pytest.mark.parametrize(
    "wrong",
    [
        "classifier.dense.bias",
        "roberta.encoder.layer.0.attention.self.value.bias",
        "roberta.encoder.layer.1.output.LayerNorm.bias",
    ],
)
def test_a_gradient_that_is_wrong_is_found_out_and_replaced(wrong, monkeypatch):
    """The proof must catch what would make scores wrong: here one parameter's gradient, off by 1%."""
    right = Pass.add

    def add(self, name, gradient):
        if name == wrong:
            gradient = DenseGradient(1.01 * gradient.values)
        right(self, name, gradient)

    monkeypatch.setattr(Pass, "add", add)
    model = builders.xlm_roberta(torch.float64)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with pytest.warns(SprachbundWarning, match=f"1 parameters .*{wrong}"):
        found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


class LeakyMean(nn.Module):
    """A head on the mean of all positions, padding included."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(builders.VOCABULARY, 8)
        self.head = nn.Linear(8, builders.LABELS)

    def pooled(self, input_ids):
        return self.embedding(input_ids).mean(1)

    def forward(self, input_ids, attention_mask, labels):
        output = type("Output", (), {})()
        output.logits = self.head(self.pooled(input_ids))
        return output


class BatchMean(LeakyMean):
    """A head that normalises over the batch: no example has an influence of its own."""

    def pooled(self, input_ids):
        pooled = super().pooled(input_ids)
        return pooled - pooled.mean(0)


def test_a_loss_that_depends_on_the_batch_is_an_error():
    with pytest.raises(GradientError, match=r"alone and .* in a batch"):
        pairwise_influence(BatchMean(), builders.batches(TRAIN, 4), builders.batches(TEST, 5))


def test_a_loss_that_depends_on_the_batch_is_found_out_though_the_first_batch_has_one_example():
    with pytest.raises(GradientError, match=r"alone and .* in a batch"):
        pairwise_influence(
            BatchMean(), builders.batches(TRAIN, 4), builders.batches(TEST[:1], 1, 3)
        )


class Crowded(LeakyMean):
    """Has room for so many tokens of a batch, as experts of a fixed capacity; the last ones go without."""

    def __init__(self, capacity):
        super().__init__()
        self.capacity, self.between = capacity, nn.Linear(8, 8)

    def forward(self, input_ids, attention_mask, labels):
        hidden, is_text = self.embedding(input_ids), attention_mask.bool()
        place = is_text.flatten().long().cumsum(0).view_as(input_ids)
        has_room = is_text & (place <= self.capacity)
        hidden = hidden + self.between(hidden).tanh() * has_room[:, :, None]
        logits = self.head((hidden * is_text[:, :, None]).sum(1) / is_text.sum(1, keepdim=True))
        return SimpleNamespace(logits=logits, loss=F.cross_entropy(logits, labels))


@pytest.mark.parametrize("share", [0.98, 0.8])
@pytest.mark.parametrize("lengths", [[6, *range(4, 16), 5], [9] * 20, [3] * 10 + [8] * 10])
def test_a_loss_that_depends_on_the_batch_at_its_end_alone_is_an_error(lengths, share):
    """None of the few examples of each length that are compared among themselves is short of room."""
    torch.manual_seed(0)
    row = {"input_ids": torch.arange(20) + 5, "labels": torch.tensor(1)}
    batch = builders.collate([{**row, "input_ids": row["input_ids"][:n]} for n in lengths])
    model = Crowded(int(share * sum(lengths))).double()
    with pytest.raises(GradientError, match=r"alone and .* in a batch"):
        pairwise_influence(model, [batch], [batch])


def test_a_loss_may_write_its_values_to_the_same_place_again():
    place = torch.empty(16, dtype=torch.float64)

    def loss(model, batch):
        size = len(batch["labels"])
        found = F.cross_entropy(model(**batch).logits, batch["labels"], reduction="none")
        if found.requires_grad:
            return found
        place[:size] = found
        return place[:size]

    model = builders.xlm_roberta(torch.float64)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    found = pairwise_influence(model, train, test, loss=loss)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


class Unpadded(LeakyMean):
    """Runs a linear map on the tokens that are not padding, one after another."""

    def __init__(self):
        super().__init__()
        self.between = nn.Linear(8, 8)

    def forward(self, input_ids, attention_mask, labels):
        embedded = self.embedding(input_ids)
        kept = attention_mask.bool()
        hidden = torch.zeros_like(embedded).masked_scatter(
            kept[:, :, None], self.between(embedded[kept]).tanh()
        )
        output = type("Output", (), {})()
        output.logits = self.head(hidden.sum(1))
        output.loss = nn.functional.cross_entropy(output.logits, labels)
        return output


def test_tokens_that_are_gathered_from_all_examples_are_found_out_once_there_is_padding():
    rows = [{**row, "input_ids": row["input_ids"].repeat(9)} for row in TRAIN]
    of_length = lambda row, n: {**row, "input_ids": row["input_ids"][:n]}  # noqa: E731
    unpadded = [builders.collate([of_length(row, 4) for row in rows[:2]])]
    padded = [builders.collate([of_length(rows[0], 3), of_length(rows[1], 5)])]
    model = Unpadded().double()
    found = pairwise_influence(model, unpadded, unpadded)
    assert oracle.relative_error(found, oracle.influence(model, unpadded, unpadded)) < 1e-10
    with pytest.raises(GradientError, match=r"between\.bias, between\.weight do not add up"):
        pairwise_influence(model, padded, unpadded)


class SharedScale(LeakyMean):
    """A linear map of position vectors [T, 8] that all examples share; T is even."""

    def __init__(self):
        super().__init__()
        self.between = nn.Linear(8, 8)
        self.register_buffer("positions", torch.randn(4, 8))

    def pooled(self, input_ids):
        return (self.embedding(input_ids) * self.between(self.positions)).sum(1)


def hinge(model, batch):
    """Vanishes, with its gradient, for what is right by a margin."""
    logits = model(**batch).logits
    return nn.functional.multi_margin_loss(logits, batch["labels"], reduction="none", margin=0.1)


def test_gradients_that_vanish_prove_nothing():
    torch.manual_seed(0)
    model = SharedScale().double()
    ids = torch.randint(5, builders.VOCABULARY, (12, 4))
    mask = torch.ones_like(ids)
    logits = model(ids, mask, None).logits
    best, worst = logits.argmax(1), logits.argmin(1)
    right = {"input_ids": ids[:2], "attention_mask": mask[:2], "labels": best[:2]}
    wrong = {"input_ids": ids[2:4], "attention_mask": mask[2:4], "labels": worst[2:4]}
    assert hinge(model, right).max() == 0 < hinge(model, wrong).min()
    with pytest.raises(GradientError, match=r"between\.bias, between\.weight do not add up"):
        pairwise_influence(model, [wrong], [right], loss=hinge)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_a_gradient_that_is_not_finite_is_an_error(similarity):
    def distance(model, batch):
        """Finite at zero, where its gradient is not."""
        logits = model(**batch).logits
        target = torch.where(batch["labels"][:, None] == 2, logits.detach(), 1.0)
        return (logits - target).square().sum(1).sqrt()

    model = builders.xlm_roberta(torch.float64)
    train = [{**row, "labels": torch.tensor(0)} for row in TRAIN]
    train[-1]["labels"] = torch.tensor(2)
    test = [{**row, "labels": torch.tensor(0)} for row in TEST]
    batches = builders.batches(test, 5)
    with pytest.raises(GradientError, match="gradient of 1 of the 1 training examples of a batch"):
        pairwise_influence(model, builders.batches(train, 4), batches, similarity, loss=distance)


def test_training_batches_in_another_order_in_the_next_pass_are_an_error():
    class Shuffled:
        turn = 0

        def __iter__(self):
            Shuffled.turn += 1
            return iter(builders.batches(TRAIN if Shuffled.turn % 2 else TRAIN[::-1], 9))

    model = builders.xlm_roberta()
    with (
        pytest.warns(SprachbundWarning, match="passed over"),
        pytest.raises(GradientError, match="same order each time"),
    ):
        pairwise_influence(model, Shuffled(), builders.batches(TEST, 5), memory="300KiB")


def test_a_model_in_float16_is_warned_of():
    with (
        pytest.warns(SprachbundWarning, match="float16"),
        GradientEngine(builders.xlm_roberta(torch.float16)),
    ):
        pass


def test_padding_that_leaks_is_an_error_also_where_the_first_batches_have_none():
    by_length = sorted(TRAIN, key=lambda row: len(row["input_ids"]))
    unpadded, padded = builders.batches([by_length[-1]] * 2, 2), builders.batches(by_length, 9)
    pairwise_influence(LeakyMean(), unpadded, unpadded)
    with pytest.raises(GradientError, match=r"alone and .* in a batch of 8: padding leaks"):
        pairwise_influence(LeakyMean(), padded, unpadded)


class AddPositions(nn.Module):
    """Gets the examples' tokens, and position vectors [T, D] that they share; no rule knows it."""

    def __init__(self, depends_on_data):
        super().__init__()
        self.scale, self.shift = (nn.Parameter(torch.randn(8)) for _ in range(2))
        self.depends_on_data = depends_on_data

    def forward(self, hidden, positions):
        if self.depends_on_data and hidden.sum() > 1e9:
            return hidden
        return torch.tanh(hidden * self.scale + positions * self.shift)


class WithPositions(LeakyMean):
    def __init__(self, depends_on_data):
        super().__init__()
        self.add = AddPositions(depends_on_data)
        self.register_buffer("positions", torch.randn(32, 8))

    def pooled(self, input_ids):
        return self.add(self.embedding(input_ids), self.positions[: input_ids.shape[1]]).mean(1)

    def forward(self, input_ids, attention_mask, labels):
        output = super().forward(input_ids, attention_mask, labels)
        output.loss = nn.functional.cross_entropy(output.logits, labels)
        return output


@pytest.mark.parametrize("depends_on_data", [False, True])
@pytest.mark.parametrize("lengths", [(7, 4), (4, 7), (2, 4, 8)])
def test_what_examples_share_stays_shared_where_it_is_as_long_as_the_batch(
    lengths, depends_on_data
):
    torch.manual_seed(0)
    model = WithPositions(depends_on_data).double()
    rows = builders.examples(4, seed=3)
    train = [
        builders.collate(
            [{**row, "input_ids": row["input_ids"].repeat(9)[:length]} for row in rows]
        )
        for length in lengths
    ]
    test = builders.batches(TEST[:1] * 2, 2)
    found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


def test_a_mean_reduced_loss_is_an_error():
    def mean(model, batch):
        return model(**batch).loss

    with pytest.raises(GradientError, match=r"expected \(5,\), one loss for each example"):
        pairwise_influence(
            builders.xlm_roberta(), builders.batches(TRAIN, 4), builders.batches(TEST, 5), loss=mean
        )


def test_nan_weights_are_an_error():
    model = builders.xlm_roberta()
    with torch.no_grad():
        model.classifier.out_proj.weight[0, 0] = torch.nan
    with pytest.raises(GradientError, match="nan"):
        pairwise_influence(model, builders.batches(TRAIN, 4), builders.batches(TEST, 5))


class GatheredTokens(nn.Module):
    """One linear map serves the tokens with small ids only, wherever in the batch they are."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(100, 8)
        self.expert = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, input_ids, labels, attention_mask):
        hidden = self.embedding(input_ids)
        chosen = input_ids < 50
        hidden = hidden.masked_scatter(chosen[..., None], self.expert(hidden[chosen]).tanh())
        logits = self.head(hidden.mean(1))
        return SimpleNamespace(logits=logits, loss=F.cross_entropy(logits, labels))


def test_tokens_gathered_from_the_batch_are_not_given_to_the_wrong_example():
    """All tokens in the first batch, three of one example and one of the other in the second: also two for each."""
    torch.manual_seed(0)
    model = GatheredTokens().double()

    def batch(*ids):
        whole = torch.tensor(ids)
        return {
            "input_ids": whole,
            "labels": torch.tensor([0, 1]),
            "attention_mask": torch.ones_like(whole),
        }

    first = batch([1, 2, 3, 4], [5, 6, 7, 8])
    with pytest.raises(GradientError, match=r"expert\.weight"):
        pairwise_influence(model, [first, batch([1, 2, 3, 70], [4, 60, 60, 60])], [first])
    with pytest.raises(GradientError, match=r"expert\.weight"):  # as many as examples, all of one
        pairwise_influence(model, [first, batch([1, 2, 70, 70], [60, 60, 60, 60])], [first])
    train = [first, batch([1, 2, 70, 70], [4, 5, 60, 60])]
    found = pairwise_influence(model, train, [first])
    assert oracle.relative_error(found, oracle.influence(model, train, [first])) < 1e-10


def test_autocast_is_refused_with_a_remedy():
    batches = builders.batches(TRAIN, 4)
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(GradientError, match="leave autocast off"),
    ):
        pairwise_influence(builders.xlm_roberta(), batches, batches)


@pytest.fixture(params=["tf32", "ieee"])
def precision(request):
    """A GPU's setting, which exists without one: what is seen inside is what a GPU would do."""
    products = torch.backends.cuda.matmul
    before, products.fp32_precision = products.fp32_precision, request.param
    yield request.param
    products.fp32_precision = before


def noting(seen):
    """A loss that notes the setting, the number of examples, and whether a gradient is wanted."""

    def loss(model, batch):
        setting = torch.backends.cuda.matmul.fp32_precision
        seen.append((setting, len(batch["labels"]), torch.is_grad_enabled()))
        return nn.functional.cross_entropy(model(**batch).logits, batch["labels"], reduction="none")

    return loss


def test_the_proof_does_not_round_products_and_leaves_the_setting(precision):
    model, seen = builders.xlm_roberta(), []
    train, test = (builders.batches(builders.examples(n, seed=n), 3) for n in (3, 2))
    pairwise_influence(model, train, test, loss=noting(seen))
    assert torch.backends.cuda.matmul.fp32_precision == precision
    # The calls are counted; autograd, two orders of the proof; and then the batches themselves.
    with_gradient = [setting for setting, _, has_gradient in seen if has_gradient]
    assert with_gradient == [precision, *["ieee"] * 3, *[precision] * 2]


def test_losses_that_are_compared_are_rounded_alike(precision):
    """Those of examples alone are as the setting has them; what is computed unrounded is not held against them."""
    row, seen = builders.examples(1)[0], []
    batches = builders.batches([row, row, row], 3)  # of one length
    pairwise_influence(builders.xlm_roberta(), batches, batches, loss=noting(seen))
    together = [setting for setting, size, has_gradient in seen if size == 2 and not has_gradient]
    assert together == (["tf32"] if precision == "tf32" else [])
