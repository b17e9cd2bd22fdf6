"""Rows that all examples share, a bias for each pair of positions, told apart where they come to each."""

import gc
import warnings
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

import builders
import oracle
from sprachbund.errors import GradientError, SprachbundWarning
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.pairwise import pairwise_influence
from sprachbund.gradients.shared import SharedResult

HEADS, WIDTH = 4, 8


def by_adding(scores: Tensor, bias: Tensor, _values: Tensor) -> Tensor:
    return scores + bias


def in_place(scores: Tensor, bias: Tensor, _values: Tensor) -> Tensor:
    scores = scores.clone()
    scores += bias
    return scores


def for_each_example(scores: Tensor, bias: Tensor, _values: Tensor) -> Tensor:
    return scores + bias.expand(len(scores), -1, -1, -1).contiguous()


def where_it_is_seen(scores: Tensor, bias: Tensor, _values: Tensor) -> Tensor:
    return scores + torch.where(scores.detach() > -9.0, bias, -1e9)


def twice(scores: Tensor, bias: Tensor, _values: Tensor) -> Tensor:
    return (scores + bias) * 2 + (bias + 1.0).clone()


def of_two_kinds(scores: Tensor, bias: Tensor, _values: Tensor) -> Tensor:
    """Once by broadcasting that is known, once by another."""
    return (scores + bias) * bias.exp()


class Biased(nn.Module):
    """Attention whose scores have a bias for each head and distance of two tokens, as T5's."""

    def __init__(self, give=by_adding):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(builders.VOCABULARY, WIDTH)
        self.bias = nn.Embedding(64, HEADS)
        self.query = nn.Linear(WIDTH, HEADS * WIDTH)
        self.head = nn.Linear(HEADS * WIDTH, builders.LABELS)
        self.give = give

    def biases(self, tokens: int) -> Tensor:
        places = torch.arange(tokens)
        bias: Tensor = self.bias(places[None, :] - places[:, None] + 32)
        return bias.permute(2, 0, 1).unsqueeze(0)

    def forward(self, input_ids, attention_mask, labels=None):
        size, tokens = input_ids.shape
        keys = self.embedding(input_ids)
        query = self.query(keys).view(size, tokens, HEADS, WIDTH).transpose(1, 2)
        scores = query @ keys[:, None].transpose(2, 3)
        scores = self.give(scores, self.biases(tokens), keys)
        return self.classified(scores, keys, attention_mask, labels)

    def classified(self, scores, keys, attention_mask, labels):
        scores = scores + (1.0 - attention_mask.to(scores))[:, None, None] * -1e9
        read = (scores.softmax(3) @ keys[:, None]).transpose(1, 2).flatten(2)
        weight = attention_mask[:, :, None] / attention_mask.sum(1)[:, None, None]
        logits = self.head((read * weight).sum(1))
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def of_length(tokens: int, count: int, seed: int) -> list[dict[str, Tensor]]:
    rows = builders.examples(count, seed=seed)
    return [{**row, "input_ids": row["input_ids"].repeat(9)[:tokens]} for row in rows]


def influence_of(model: nn.Module, train, test) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    with warnings.catch_warnings(), GradientEngine(model) as engine:
        warnings.simplefilter("ignore", SprachbundWarning)
        engine.per_example(train[0], lambda *_: None)
        slow = engine.parameters_by_autograd
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SprachbundWarning)
        found = pairwise_influence(model, train, test)
    return found, oracle.influence(model, train, test), slow


@pytest.mark.parametrize(
    "give",
    [by_adding, in_place, for_each_example, where_it_is_seen, twice],
    ids=lambda g: g.__name__,
)
def test_biases_by_position_are_exact_and_not_slow(give):
    model = Biased(give).double()
    train = builders.batches(builders.examples(9, seed=1), 4)
    test = builders.batches(builders.examples(5, seed=2), 3)
    found, expected, slow = influence_of(model, train, test)
    assert slow == ()
    assert oracle.relative_error(found, expected) < 1e-10


@pytest.mark.parametrize("tokens", [4, 8, 6, 2])
def test_they_are_shared_where_there_are_as_many_tokens_as_examples_too(tokens):
    """[T, T] looks like T examples with T tokens each, or like half as many with twice as many."""
    model = Biased().double()
    train = [builders.collate(of_length(tokens, 4, seed=1)), builders.collate(of_length(5, 4, 3))]
    test = builders.batches(builders.examples(5, seed=2), 3)
    found, expected, slow = influence_of(model, train, test)
    assert slow == ()
    assert oracle.relative_error(found, expected) < 1e-10


def test_what_is_also_used_otherwise_is_left_to_autograd():
    model = Biased(of_two_kinds).double()
    train = builders.batches(builders.examples(9, seed=1), 4)
    found, expected, slow = influence_of(model, train, train)
    assert slow == ("bias.weight",)
    assert oracle.relative_error(found, expected) < 1e-10


class GatedHeads(Biased):
    """Adds something for each head before the heads meet the examples: four examples look like four heads."""

    def __init__(self):
        super().__init__()
        self.register_buffer("gates", torch.randn(HEADS, 1, 1))

    def biases(self, tokens: int) -> Tensor:
        places = torch.arange(tokens)
        bias = self.bias(places[None, :] - places[:, None] + 32)[None, :, :, 0]
        return (bias + self.gates).unsqueeze(0)


def test_an_axis_that_is_as_long_as_the_batch_by_chance_is_not_taken_for_the_examples():
    model = GatedHeads().double()
    rows = builders.examples(9, seed=1)
    test = builders.batches(builders.examples(5, seed=2), 5)
    train = [builders.collate(rows[:3]), builders.collate(rows[3:6]), builders.collate(rows[6:])]
    found, expected, _ = influence_of(model, train, test)
    assert oracle.relative_error(found, expected) < 1e-10
    as_many_as_heads = [builders.collate(rows[:3]), builders.collate(rows[3 : 3 + HEADS])]
    with pytest.raises(GradientError, match=r"per-example gradients of bias\.weight do not add up"):
        pairwise_influence(model, as_many_as_heads, test)


def test_nothing_of_a_pass_stays():
    model, alive = Biased(), []
    look_up = model.biases

    def noted(tokens):
        bias = look_up(tokens)
        alive.append(weakref.ref(bias.untyped_storage()))
        return bias

    model.biases = noted
    gc.disable()
    try:
        with GradientEngine(model) as engine:
            engine.per_example(builders.collate(builders.examples(4, seed=1)), lambda *_: None)
            assert not any(storage() is not None for storage in alive)
    finally:
        gc.enable()


class Related(Biased):
    """Vectors of distances, read from the table itself, through a norm and the linear map that tokens go through."""

    def __init__(self, rows=16, *, leading=True):
        super().__init__()
        self.related = nn.Embedding(rows, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.leading = leading

    def forward(self, input_ids, attention_mask, labels=None):
        size, tokens = input_ids.shape
        keys = self.embedding(input_ids)
        vectors = self.norm(self.related.weight)[:tokens]
        if self.leading:  # [1, T, I], as DeBERTa; else [T, I], like T examples
            vectors = vectors.unsqueeze(0)
        distances = self.query(vectors).view(-1, HEADS, WIDTH).transpose(0, 1).repeat(size, 1, 1)
        query = self.query(keys).view(size, tokens, HEADS, WIDTH).transpose(1, 2).flatten(0, 1)
        scores = (query @ distances.transpose(1, 2)).view(size, HEADS, tokens, -1)
        return self.classified(scores, keys, attention_mask, labels)


@pytest.mark.parametrize("leading", [True, False])
@pytest.mark.parametrize("tokens", [4, 8, 16, 7])
def test_a_table_that_is_read_directly_is_followed_through_norms_and_linear_maps(tokens, leading):
    model = Related(leading=leading).double()
    train = [builders.collate(of_length(n, 4, seed=n)) for n in (tokens, 5, 8)]
    train += [builders.collate(of_length(9, 1, seed=2))]
    test = builders.batches(builders.examples(5, longest=10, seed=2), 3)
    found, expected, slow = influence_of(model, train, test)
    assert slow == ()
    assert oracle.relative_error(found, expected) < 1e-10


def test_a_vocabulary_that_is_read_directly_is_left_to_autograd():
    """The gradient of all its rows would be written out for each example."""
    model = Related(rows=4097).double()
    train = builders.batches(builders.examples(5, longest=10, seed=1), 3)
    found, expected, slow = influence_of(model, train, train)
    assert "related.weight" in slow
    assert oracle.relative_error(found, expected) < 1e-10


class Placed(Biased):
    """A bias for each head and position, rows of a table that is read directly."""

    def biases(self, tokens: int) -> Tensor:
        return self.bias.weight[:tokens].T[:, None, :]  # [H, 1, T], to [B, H, T, T]


def test_what_has_an_axis_less_than_the_examples_is_shared():
    model = Placed().double()
    train = builders.batches(builders.examples(9, seed=1), 4)
    found, expected, slow = influence_of(model, train, train)
    assert slow == ()
    assert oracle.relative_error(found, expected) < 1e-10


class Toy(nn.Module):
    """Pooled vectors of tokens, to which `logits` adds what examples share."""

    def __init__(self, logits):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(builders.VOCABULARY, WIDTH)
        self.places = nn.Embedding(64, WIDTH)
        self.prompt = nn.Embedding(3, WIDTH)
        self.distances = nn.Embedding(64, 1)
        self.linear, self.norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, builders.LABELS)
        self.register_buffer("gates", torch.randn(HEADS, 1, 1))
        self.logits = logits

    def vectors(self, input_ids):
        return torch.tanh(self.embedding(input_ids))

    def pooled(self, vectors, mask):
        return (torch.tanh(vectors) * (mask[:, :, None] / mask.sum(1)[:, None, None])).sum(1)

    def forward(self, input_ids, attention_mask, labels=None):
        logits = self.head(torch.tanh(self.logits(self, input_ids, attention_mask)))
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def places_through_a_linear_map(toy, ids, mask):
    rows = toy.linear(toy.norm(toy.places(torch.arange(ids.shape[1]))))
    return toy.pooled(toy.vectors(ids) + rows, mask)


def one_map_for_tokens_and_places(toy, ids, mask):
    rows = toy.linear(toy.places(torch.arange(ids.shape[1])))
    return toy.pooled(toy.linear(toy.vectors(ids)) + rows, mask)


def a_row(toy, ids, mask):
    return toy.pooled(toy.vectors(ids), mask) + toy.linear(toy.prompt.weight[1])


def a_prompt_that_is_written_into(toy, ids, mask):
    prompt = toy.prompt.weight[None].repeat(len(ids), 1, 1)
    prompt += toy.vectors(ids)[:, :1]
    return toy.pooled(toy.vectors(ids), mask) + prompt.tanh().mean(1)


def rows_written_into_between_two_uses(toy, ids, mask):
    rows = toy.places(torch.arange(ids.shape[1]))[None].clone()
    vectors = toy.vectors(ids) + rows
    rows *= 2.0
    return toy.pooled(vectors + rows, mask)


class Opaque(torch.autograd.Function):
    """Its backward pass asks for a number, which there is not of several gradients at once."""

    @staticmethod
    def forward(_ctx, values):
        return values * 2.0

    @staticmethod
    def backward(_ctx, grad):
        return grad * (2.0 if float(grad.sum()) < 1e9 else 0.0)


def through_a_function_that_is_not_vectorised(toy, ids, mask):
    rows = Opaque.apply(toy.places(torch.arange(ids.shape[1])))
    return toy.pooled(toy.vectors(ids) + rows, mask)


SIZES = [
    (3, 4, 4),
    (4, 2, 3),
    (1, 3, 4),
]  # of batches whose texts have as many tokens as they have examples, or one


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(
    "logits",
    [
        places_through_a_linear_map,
        one_map_for_tokens_and_places,
        a_row,
        a_prompt_that_is_written_into,
        rows_written_into_between_two_uses,
        through_a_function_that_is_not_vectorised,
    ],
    ids=lambda logits: logits.__name__,
)
def test_shared_rows_are_exact_whatever_the_batch_is_as_long_as(logits, sizes):
    model = Toy(logits).double()
    train = [
        builders.collate(of_length(tokens, size, seed=size))
        for size, tokens in zip(sizes, (7, *sizes[1:]), strict=True)
    ]
    test = builders.batches(builders.examples(5, seed=2), 3)
    before = {name: value.clone() for name, value in model.named_parameters()}
    found, expected, _ = influence_of(model, train, test)
    assert oracle.relative_error(found, expected) < 1e-10
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


def test_a_batch_of_one_example_where_only_what_is_shared_has_a_gradient():
    """Then all that is made of it is followed, to the end."""

    def logits(toy, ids, mask):
        vectors = torch.tanh(
            toy.embedding(ids) + toy.linear(toy.places.weight[None, : ids.shape[1]])
        )
        return toy.pooled(toy.linear(vectors) * vectors, mask)

    model = Toy(logits).double()
    model.embedding.weight.requires_grad_(False)
    train = [
        builders.collate(of_length(tokens, size, seed=size)) for tokens, size in ((7, 3), (5, 1))
    ]
    found, expected, slow = influence_of(model, train, train)
    assert slow == ()
    assert oracle.relative_error(found, expected) < 1e-10


def test_a_table_is_read_once_by_what_writes_in_place():
    def logits(toy, ids, mask):
        vectors = F.pad(toy.vectors(ids), (0, 0, 0, 64 - ids.shape[1]))
        vectors += toy.places.weight
        return toy.pooled(vectors[:, : ids.shape[1]], mask)

    model = Toy(logits).double()
    train = builders.batches(builders.examples(5, seed=1), 3)
    found, expected, slow = influence_of(model, train, train)
    assert slow == ()
    assert oracle.relative_error(found, expected) < 1e-10


def test_two_uses_at_one_depth_are_told_apart():
    """One meets the examples, one the heads, which are as many in a later batch."""

    def logits(toy, ids, mask):
        places = torch.arange(ids.shape[1])
        bias = toy.distances(places[None] - places[:, None] + 32)[None, :, :, 0]
        vectors = toy.vectors(ids)
        near = (torch.tanh(toy.linear(vectors) @ vectors.mT) + bias).softmax(2) @ vectors
        by_head = torch.tanh(near @ vectors.mT)[:, None].expand(-1, HEADS, -1, -1)
        gated = by_head.contiguous() + (bias + toy.gates)
        return toy.pooled((gated.softmax(3) @ vectors[:, None]).prod(1), mask)

    model = Toy(logits).double()
    test = [builders.collate(of_length(6, 3, seed=5))]
    train = [builders.collate(of_length(6, 3, seed=1)), builders.collate(of_length(5, 3, seed=2))]
    found, expected, slow = influence_of(model, train, test)
    assert slow == ()
    assert oracle.relative_error(found, expected) < 1e-10
    as_many_as_heads = [train[0], builders.collate(of_length(5, HEADS, seed=2))]
    with pytest.raises(GradientError, match=r"gradients of distances\.weight do not add up"):
        pairwise_influence(model, as_many_as_heads, test)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_half_of_a_gradient_is_not_taken_for_all_of_it_in_any_precision(dtype):
    rows = torch.randn(3, 2, dtype=dtype).requires_grad_().clone()
    grad = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0)).to(dtype)

    def gradients(total: Tensor) -> dict | None:
        result = SharedResult(lambda sent: {"weight": sent})
        result.holds(rows)
        result.take_in(rows * 2, grad)
        return result.gradients(total)

    total = 2 * grad.double().sum(0).to(dtype)
    found = gradients(total)
    assert found is not None
    torch.testing.assert_close(found["weight"], 2 * grad)
    assert gradients(2 * total) is None
