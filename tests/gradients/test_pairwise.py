"""Scores against autograd one example at a time, a peer library, and the properties they must have."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AlbertConfig, AutoModelForSequenceClassification

import builders
import oracle
from sprachbund.errors import GradientError, SprachbundWarning
from sprachbund.gradients.pairwise import mean_influence, pairwise_influence

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
    with pytest.warns(SprachbundWarning, match="is zero"):
        scores = pairwise_influence(
            model, builders.batches(rows, 4), builders.batches(rows, 4), "cosine"
        )
    assert torch.equal(scores, torch.zeros(9, 9))


def test_a_gradient_too_small_for_its_precision_has_a_warning():
    model = builders.xlm_roberta()
    with torch.no_grad():
        model.classifier.out_proj.bias[0] = 50.0
    rows = [row | {"labels": torch.tensor(0)} for row in TRAIN]
    with pytest.warns(SprachbundWarning, match="a norm below 1e-17"):
        pairwise_influence(model, builders.batches(rows, 4), builders.batches(rows, 4), "cosine")


@pytest.mark.filterwarnings("ignore::sprachbund.errors.SprachbundWarning")
def test_means_with_a_gradient_that_is_not_finite_are_an_error():
    """A square root at zero: the loss is finite, its gradient is not."""
    model = builders.xlm_roberta()

    def loss(model, batch):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        values = logits.square().sum(1)
        bad = batch["labels"] == 1
        return values.masked_scatter(bad, values[bad] + (values[bad] - values[bad]).sqrt())

    between = sorted(range(5), key=lambda n: len(TEST[n]["input_ids"]))[2]  # not in the proof
    rows = [row | {"labels": torch.tensor(int(n == between))} for n, row in enumerate(TEST)]
    test = builders.batches(rows, 5)
    train = builders.batches([row | {"labels": torch.tensor(0)} for row in TRAIN], 4)
    with pytest.raises(GradientError, match="not finite"):
        mean_influence(model, train, test, [0, 0, 1, 1, 1], loss=loss)
