"""Scores against autograd one example at a time, a peer library, and the properties they must have."""

import warnings
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AlbertConfig, AutoModelForSequenceClassification

import builders
import oracle
from sprachbund.errors import GradientError, SprachbundWarning
from sprachbund.gradients import capture
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.pairwise import pairwise_influence
from sprachbund.gradients.per_example import DenseGradient

TRAIN, TEST = builders.examples(9, seed=1), builders.examples(5, seed=2)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_scores_equal_autograd_one_example_at_a_time(dtype, similarity):
    model = builders.xlm_roberta(dtype)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 3)
    found = pairwise_influence(model, train, test, similarity)
    expected = oracle.influence(model, train, test, similarity)
    assert found.dtype == dtype
    assert found.shape == (5, 9)
    assert oracle.relative_error(found, expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("longest", [4, 60])
@pytest.mark.parametrize("count", [1, 40])
def test_scores_are_exact_in_both_forms_of_the_linear_contraction(longest, count):
    """Short texts use token Gram matrices, long ones the materialised gradients."""
    model = builders.xlm_roberta(torch.float64)
    train = builders.batches(builders.examples(6, longest, seed=3), 3)
    test = builders.batches(builders.examples(count, longest, seed=4), 16)
    found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


@settings(max_examples=12, deadline=None)
@given(size=st.integers(1, 9), test_size=st.integers(1, 5), padding=st.integers(0, 7))
def test_scores_do_not_depend_on_batch_size_or_padding(size, test_size, padding):
    model = builders.xlm_roberta(torch.float64)
    expected = pairwise_influence(model, builders.batches(TRAIN, 1), builders.batches(TEST, 1))
    found = pairwise_influence(
        model, builders.batches(TRAIN, size, padding), builders.batches(TEST, test_size, padding)
    )
    assert oracle.relative_error(found, expected) < 1e-10


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(9)))
def test_permuting_the_training_set_permutes_the_scores(order):
    model = builders.xlm_roberta(torch.float64)
    test = builders.batches(TEST, 5)
    found = pairwise_influence(model, builders.batches([TRAIN[i] for i in order], 4), test)
    expected = pairwise_influence(model, builders.batches(TRAIN, 4), test)[:, list(order)]
    assert oracle.relative_error(found, expected) < 1e-10


def test_dot_products_add_up_over_a_partition_of_the_parameters():
    model = builders.xlm_roberta(torch.float64)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    parts = [
        pairwise_influence(model, train, test, parameters=part)
        for part in (
            lambda name: "embeddings" in name,
            lambda name: "encoder" in name,
            lambda name: "classifier" in name,
        )
    ]
    whole = pairwise_influence(model, train, test)
    assert oracle.relative_error(sum(parts), whole) < 1e-10


def test_a_chosen_part_equals_autograd_on_that_part():
    model = builders.xlm_roberta(torch.float64)

    def only_norms(name: str) -> bool:
        return "LayerNorm" in name

    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    found = pairwise_influence(model, train, test, "cosine", parameters=only_norms)
    expected = oracle.influence(model, train, test, "cosine", only_norms)
    assert oracle.relative_error(found, expected) < 1e-10


def test_frozen_parameters_are_left_out():
    model = builders.xlm_roberta(torch.float64)
    model.roberta.embeddings.requires_grad_(False)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10
    assert not model.roberta.embeddings.word_embeddings.weight.requires_grad


def test_the_gram_matrix_is_symmetric_and_its_cosines_lie_in_range_with_ones_on_the_diagonal():
    model = builders.xlm_roberta(torch.float64)
    rows = builders.batches(TRAIN, 4)
    gram = pairwise_influence(model, rows, rows)
    torch.testing.assert_close(gram, gram.T, rtol=1e-10, atol=1e-12)
    cosines = pairwise_influence(model, rows, rows, "cosine")
    assert float(cosines.abs().max()) <= 1.0
    torch.testing.assert_close(cosines.diag(), torch.ones(9, dtype=torch.float64))


def test_modules_used_several_times_are_exact():
    """ALBERT runs one layer for all: its gradient is the sum over calls, squared as a whole."""
    config = AlbertConfig(
        vocab_size=builders.VOCABULARY,
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=64,
        num_labels=builders.LABELS,
        pad_token_id=builders.PADDING,
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).double()
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    found = pairwise_influence(model, train, test, "cosine")
    assert oracle.relative_error(found, oracle.influence(model, train, test, "cosine")) < 1e-10


def test_parameters_used_outside_a_known_module_are_exact_and_announced():
    class Scaled(nn.Module):
        """A backbone whose logits are scaled by a free parameter and shifted by a bare weight."""

        def __init__(self):
            super().__init__()
            self.inner = builders.xlm_roberta(torch.float64)
            self.scale = nn.Parameter(torch.ones(builders.LABELS, dtype=torch.float64))
            self.unused_as_module = nn.Linear(3, 3).double()

        def forward(self, labels, **inputs):
            logits = self.inner(**inputs).logits * self.scale
            output = type("Output", (), {})()
            output.logits = logits @ self.unused_as_module.weight
            output.loss = nn.functional.cross_entropy(output.logits, labels)
            return output

    model = Scaled()
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with pytest.warns(SprachbundWarning, match=r"scale, unused_as_module\.weight"):
        found = pairwise_influence(model, train, test, "cosine")
    assert oracle.relative_error(found, oracle.influence(model, train, test, "cosine")) < 1e-10


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
    right = capture._Pass.add

    def add(self, name, gradient):
        if name == wrong:
            gradient = DenseGradient(1.01 * gradient.values)
        right(self, name, gradient)

    monkeypatch.setattr(capture._Pass, "add", add)
    model = builders.xlm_roberta(torch.float64)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with pytest.warns(SprachbundWarning, match=f"1 parameters .*{wrong}"):
        found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


def test_the_model_is_left_as_it_was_found():
    model = builders.xlm_roberta()
    model.classifier.eval()
    model.classifier.dense.weight.requires_grad_(False)
    model.classifier.out_proj.weight.grad = torch.ones_like(model.classifier.out_proj.weight)

    def state():
        return (
            [module.training for module in model.modules()],
            [p.requires_grad for p in model.parameters()],
            [p.grad is not None for p in model.parameters()],
            [len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()],
            ["forward" in vars(module) for module in model.modules()],
            [p.detach().clone() for p in model.parameters()],
        )

    before = state()
    pairwise_influence(model, builders.batches(TRAIN, 4), builders.batches(TEST, 5))

    def broken(batches):
        yield batches[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pairwise_influence(model, broken(builders.batches(TRAIN, 4)), builders.batches(TEST, 5))
    after = state()
    assert before[:5] == after[:5], "an exception must not leave hooks or frozen parameters behind"
    assert all(torch.equal(a, b) for a, b in zip(before[5], after[5], strict=True))
    assert torch.equal(
        model.classifier.out_proj.weight.grad, torch.ones_like(model.classifier.out_proj.weight)
    )


def test_a_custom_loss_is_used_for_each_example():
    model = builders.xlm_roberta(torch.float64)

    def margin(model, batch):
        logits = model(**batch).logits
        return logits.logsumexp(1) - 2 * logits.gather(1, batch["labels"][:, None])[:, 0]

    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    found = pairwise_influence(model, train, test, loss=margin)
    model.eval()
    chosen = list(model.parameters())

    def flat(batch, position):
        loss = margin(model, oracle.alone(batch, position))[0]
        parts = torch.autograd.grad(loss, chosen)
        return torch.cat([part.flatten() for part in parts])

    expected = torch.stack([flat(test[0], m) for m in range(5)]) @ flat(train[1], 2)
    assert oracle.relative_error(found[:, 6], expected) < 1e-10


def test_captum_agrees():
    """A peer: captum's TracInCP over all layers, which sums over checkpoints, here one."""
    from captum.influence import TracInCP

    class Logits(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    model = builders.xlm_roberta().eval()
    train, test = builders.batches(TRAIN, 3), builders.batches(TEST, 5)
    tuples = [(b["input_ids"], b["attention_mask"], b["labels"]) for b in train]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = TracInCP(
            Logits(model),
            torch.utils.data.DataLoader(tuples, batch_size=None),
            checkpoints=["only"],
            checkpoints_load_func=lambda _model, _path: 1.0,
            loss_fn=nn.CrossEntropyLoss(reduction="none"),
            batch_size=3,
        )
        expected = peer.influence(
            (test[0]["input_ids"], test[0]["attention_mask"], test[0]["labels"])
        )
    found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, expected.double()) < 1e-5


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
        pairwise_influence(BatchMean(), builders.batches(TRAIN, 4), builders.batches(TEST[:1], 1))


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


class Clamping(nn.Embedding):
    """Sends ids beyond the table to its last row."""

    def forward(self, input):
        return super().forward(input.clamp(max=self.num_embeddings - 1))


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [(100, nullcontext()), (builders.VOCABULARY, pytest.raises(GradientError, match="embeddings"))],
    ids=["in the first batch", "only where a batch has more tokens than the table rows"],
)
def test_an_embedding_that_treats_ids_by_their_value_is_exact_or_an_error(rows, outcome):
    model = builders.xlm_roberta(torch.float64)
    model.roberta.embeddings.word_embeddings = Clamping(rows, 32, padding_idx=1).double()
    train, test = builders.batches(TRAIN, 9), builders.batches(TEST[:2], 2)
    assert test[0]["input_ids"].numel() < rows < train[0]["input_ids"].numel()
    with outcome:
        found = pairwise_influence(model, train, test)
        assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


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
    with pytest.raises(GradientError, match=r"alone and .* in a batch of 2: padding leaks"):
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


class Gain(nn.Module):
    """A parameter that is one number, without axes."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, hidden):
        return hidden * self.gain


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_a_parameter_that_is_one_number_counts(similarity):
    model = builders.xlm_roberta(torch.float64)
    model.classifier.dense = nn.Sequential(model.classifier.dense, Gain().double())
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    found = pairwise_influence(model, train, test, similarity)
    assert oracle.relative_error(found, oracle.influence(model, train, test, similarity)) < 1e-10
    only = pairwise_influence(model, train, test, "dot", parameters=lambda name: "gain" in name)
    expected = oracle.influence(model, train, test, "dot", lambda name: "gain" in name)
    assert oracle.relative_error(only, expected) < 1e-10


def test_gradient_checkpointing_changes_nothing_and_is_as_it_was():
    model = builders.xlm_roberta(torch.float64)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    expected = pairwise_influence(model, train, test)
    model.activation_checkpointing_enable()
    model.train()
    found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, expected) < 1e-12
    assert model.is_activation_checkpointing
    assert model.training


def test_a_mean_reduced_loss_is_an_error():
    def mean(model, batch):
        return model(**batch).loss

    with pytest.raises(GradientError, match=r"expected \(2,\), one loss for each example"):
        pairwise_influence(
            builders.xlm_roberta(), builders.batches(TRAIN, 4), builders.batches(TEST, 5), loss=mean
        )


def test_nan_weights_are_an_error():
    model = builders.xlm_roberta()
    with torch.no_grad():
        model.classifier.out_proj.weight[0, 0] = torch.nan
    with pytest.raises(GradientError, match="nan"):
        pairwise_influence(model, builders.batches(TRAIN, 4), builders.batches(TEST, 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(similarity="euclid"), 'expected "dot" or "cosine"'),
        (dict(parameters=lambda name: False), "the filter leaves none"),
        (dict(train=[]), "no training batch"),
        (dict(test=[]), "no test batch"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = dict(train=builders.batches(TRAIN, 4), test=builders.batches(TEST, 5)) | change
    with pytest.raises(GradientError, match=message):
        pairwise_influence(builders.xlm_roberta(), **arguments)


def test_a_vanishing_gradient_has_cosine_zero_and_a_warning():
    model = builders.xlm_roberta()
    with torch.no_grad():
        model.classifier.out_proj.bias[0] = 1000.0
    rows = [row | {"labels": torch.tensor(0)} for row in TRAIN]
    with pytest.warns(SprachbundWarning, match="exactly zero"):
        scores = pairwise_influence(
            model, builders.batches(rows, 4), builders.batches(rows, 4), "cosine"
        )
    assert torch.equal(scores, torch.zeros(9, 9))
