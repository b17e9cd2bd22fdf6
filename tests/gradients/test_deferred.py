"""Activations of few tokens: equal to those of all, and the rest of them where anybody asks for it."""

import copy
import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from transformers.modeling_outputs import SequenceClassifierOutput

import builders
import oracle
from sprachbund.errors import GradientError
from sprachbund.gradients import deferred as deferred_module
from sprachbund.gradients.deferred import DeferredTokens, TokensRead
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.pairwise import pairwise_influence
from sprachbund.gradients.per_example import OuterGradient
from sprachbund.gradients.tracked_linear import TrackedLinear
from sprachbund.gradients.unwritten import written_out

B, T, D = 3, 6, 8
READ = torch.tensor([0, 1])
Function = Callable[[Tensor, Tensor], Any]


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def of_heads(x_BTD: Tensor) -> Tensor:
    return x_BTD.view(B, T, 2, -1).transpose(1, 2)


def attended(y: Tensor, x: Tensor) -> Tensor:
    found = F.scaled_dot_product_attention(of_heads(y), of_heads(x), of_heads(x.sin()))
    return found.reshape(B, -1, T, D // 2).transpose(1, 2).contiguous().reshape(B, T, -1)


def written_to_afterwards(y: Tensor, x: Tensor) -> Tensor:
    """All tokens are asked for when what they were made of has changed."""
    more = x.sin()
    total = y + more
    more.mul_(0)
    return total + total.cumsum(1) * 0.0


STAY_FEW: dict[str, Function] = {
    "itself": lambda y, _x: y,
    "gelu": lambda y, _x: F.gelu(y),
    "silu and relu": lambda y, _x: F.silu(y) + F.relu(y),
    "plus what went in": lambda y, x: y + x,
    "what went in, plus": lambda y, x: x + y,
    "times two": lambda y, x: 2 * y * x,
    "norm": lambda y, x: F.layer_norm(y + x, (D,)),
    "without dropout": lambda y, _x: F.dropout(y, 0.1, training=False),
    "detached besides": lambda y, _x: y + y.detach(),
}
NEED_ALL: dict[str, Function] = {
    "attention": attended,
    "attention and norm": lambda y, x: F.layer_norm(attended(y, x) + x, (D,)),
    "by tanh": lambda y, _x: y * y.tanh(),
    "softmax": lambda y, _x: y.softmax(-1),
    "over the tokens": lambda y, _x: y.cumsum(1),
    "other tokens' mean": lambda y, _x: y + y.mean(1, keepdim=True),
    "largest": lambda y, _x: y + y.amax(1, keepdim=True).detach(),
    "in halves": lambda y, _x: torch.cat(y.chunk(2, -1)[::-1], -1),
    "other axes": lambda y, _x: y.permute(0, 2, 1).exp().permute(0, 2, 1),
    "product": lambda y, x: y @ x.mT @ x,
    "einsum": lambda y, x: torch.einsum("btd,bsd->btd", y, x),
    "causal attention": lambda y, x: F.scaled_dot_product_attention(y, x, x, is_causal=True),
    "norm over tokens": lambda y, _x: F.layer_norm(y, (T, D)),
    "a weight for each feature": lambda y, _x: y * torch.arange(D),
    "broadcast": lambda y, x: y + x[:, :1],
    "as float32": lambda y, _x: y.float().double(),
    "where": lambda y, x: torch.where(x > 0, y, x),
    "masked": lambda y, x: y.masked_fill(x > 0, 0.0),
}
WRITE: dict[str, Function] = {
    "in place": lambda y, x: y.add_(x).mul_(2),
    "in place, by sign": lambda y, x: y.__iadd__(x),
    "in place, then few": lambda y, x: F.gelu(y.add_(x)),
    "in place, a view": lambda y, x: (y.view(*y.shape[:2], 2, -1).mul_(2), y)[1] + x,
    "in place, of which there is a view": lambda y, _x: (y.view(*y.shape[:2], 2, -1), y.mul_(2))[
        0
    ].flatten(2),
    "written to": lambda y, x: (y.__setitem__((slice(None), 0), x[:, 1] * 2), y)[1],
    "in place, without a name": lambda y, _x: F.relu(y, inplace=True),
    "into a view of one token": lambda y, x: (y[:, 0].mul_(2), y + x)[1],
    "into a view of all": lambda y, x: (y.view(len(y), -1).mul_(2), y + x)[1],
    "into what it was made of": written_to_afterwards,
    "into one token, read again": lambda y, x: (y[:, 0].mul_(2), y)[1] + x,
    "after one token was taken": lambda y, x: (y[:, :1], y.mul_(2))[0] + x,
    "in place, by a flag": lambda y, x: (F.hardtanh(y, -0.1, 0.1, inplace=True), y)[1] + x,
    "into the same by another name": lambda y, x: (y.to(y.dtype).clamp_(-0.1, 0.1), y)[1] + x,
    "past autograd": lambda y, x: (y.data.clamp_(-0.1, 0.1), y)[1] + x,
}
FUNCTIONS = {**STAY_FEW, **NEED_ALL}
READINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "first": lambda z: z[:, 0],
    "another that is at hand": lambda z: z.select(1, -5),
    "one that is not": lambda z: z[:, 4],
    "by index": lambda z: z[torch.arange(B), torch.tensor([0, 5, 3])],
    "mean": lambda z: z.mean(1),
}


def in_both_ways(function: Function, read: Callable[[Tensor], Tensor]) -> list[list[Tensor]]:
    """What is read, and the gradients of input and weight; with deferred tokens and without."""
    found = []
    for is_deferred in (True, False):
        x = randn(B, T, D, seed=1).requires_grad_()
        layer = nn.Linear(D, D).double().requires_grad_(False)
        layer.weight.copy_(randn(D, D, seed=2))
        layer.bias.copy_(randn(D, seed=3))
        weight = torch.zeros(D, D, dtype=torch.float64)

        def arrive(gradients: dict[str, OuterGradient], _kept: Tensor | None, total=weight) -> bool:
            each = gradients["weight"]
            total += torch.einsum("bto,bti->oi", each.left_BTO, each.right_BTI)
            return True

        if is_deferred:
            anchor = torch.zeros((), requires_grad=True)
            y = TrackedLinear.apply(x, anchor, layer, B, arrive, TokensRead(READ, []))
            assert isinstance(y, DeferredTokens)
        else:
            layer.weight.requires_grad_()
            y = layer(x)
        out = read(function(y, x))
        out.cos().sum().backward()
        of_weight = weight if is_deferred else layer.weight.grad
        found.append([written_out(out).detach(), x.grad, of_weight])
    return found


@pytest.fixture
def rests(monkeypatch) -> list[str]:
    """Of what all tokens were computed, by name."""
    asked, found = [], deferred_module._Rest.found

    def noted(rest):
        if rest._call is not None:
            asked.append(getattr(rest._call[0], "__name__", ""))
        return found(rest)

    monkeypatch.setattr(deferred_module._Rest, "found", noted)
    return asked


@pytest.mark.parametrize("read", READINGS.values(), ids=READINGS)
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_numbers_and_gradients_are_those_of_all_tokens(function, read):
    for found, expected in zip(*in_both_ways(function, read), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("function", STAY_FEW.values(), ids=STAY_FEW)
def test_the_others_are_not_computed_where_nobody_asks(function, rests):
    in_both_ways(function, lambda z: z[:, 0] + z.select(1, -5))
    assert not rests


def deferred_of(x: Tensor) -> tuple[DeferredTokens, Tensor]:
    layer = nn.Linear(D, D).double().requires_grad_(False)
    anchor = torch.zeros((), requires_grad=True)
    made = TrackedLinear.apply(x, anchor, layer, B, lambda *_: True, TokensRead(READ, []))
    return F.gelu(made), F.gelu(layer(x))


ASKED = {
    "numbers": lambda y: y.detach().numpy().tolist(),
    "list": lambda y: y.tolist(),
    "one number": lambda y: y[1, 2, 3].item(),
    "copy": lambda y: copy.deepcopy(y.detach()).tolist(),
    "saved": lambda y: y.detach().clone().untyped_storage().tolist(),
    "shape": lambda y: (y.shape, y.size(1), len(y), y.dim(), y.numel(), y.stride(), y.dtype),
    "norm": lambda y: torch.linalg.vector_norm(y).item(),
    "truth": lambda y: bool((y > -1).all()),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_whoever_looks_sees_an_ordinary_tensor(ask):
    y, expected = deferred_of(randn(B, T, D))
    assert isinstance(y, DeferredTokens)
    assert ask(y) == ask(expected)
    assert y.data_ptr()
    assert y.retains_grad is False


def test_what_was_overwritten_before_the_rest_was_asked_for_is_an_error():
    x, more = randn(B, T, D), randn(B, T, D, seed=1)
    y = deferred_of(x)[0] + more
    more.zero_()
    assert y[:, 0].any()
    with pytest.raises(GradientError, match="wrote into a tensor"):
        y.sum()


class Reader(nn.Module):
    """One layer of attention, after which something of the tokens is read."""

    def __init__(self, between: Function, read: Callable[..., Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        width = 8
        self.embedding = nn.Embedding(builders.VOCABULARY, width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.head = nn.Linear(width, builders.LABELS)
        self.between, self.read = between, read
        self.double()

    def forward(self, input_ids, attention_mask, labels=None):
        x = self.embedding(input_ids)
        query, key, value = (map_(x).unsqueeze(1) for map_ in (self.query, self.key, self.value))
        mask = attention_mask.bool()[:, None, None]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).squeeze(1)
        x = self.norm(self.out(attended) + x)
        y = self.between(self.down(F.gelu(self.up(x))), x)
        logits = self.head(self.read(self.last_norm(y + x), attention_mask))
        return SequenceClassifierOutput(loss=F.cross_entropy(logits, labels), logits=logits)


def first(z: Tensor, _mask: Tensor) -> Tensor:
    return z[:, 0]


def first_or_last(z: Tensor, mask: Tensor) -> Tensor:
    """The last where a text is short: it is in no batch but the last."""
    is_short = mask.sum(1) < 6
    return torch.where(is_short[:, None], z[torch.arange(len(z)), mask.sum(1) - 1], z[:, 0])


def first_by_the_largest(z: Tensor, mask: Tensor) -> Tensor:
    """The others count without a gradient."""
    others = z.detach().masked_fill(mask[:, :, None] == 0, -9.0)
    return z[:, 0] * others.amax(1)


def first_scaled(z: Tensor, _mask: Tensor) -> Tensor:
    """In place, which nobody looks at again."""
    return z[:, 0].mul_(2)


def first_scaled_where_autograd_kept_it(z: Tensor, _mask: Tensor) -> Tensor:
    return F.gelu(z)[:, 0].mul_(2) + F.gelu(z)[:, 0]


def first_and_a_third_where_it_counts(z: Tensor, mask: Tensor) -> Tensor:
    """In every second example the third token has no gradient at all."""
    counts = (mask.sum(1) % 2).to(z)
    return z[:, 0] + z[:, 2] * counts[:, None]


def first_and_a_third_in_some_batches(z: Tensor, mask: Tensor) -> Tensor:
    """In long texts the third token has no gradient, in no example of a batch."""
    counts = (mask.sum(1) < 8).to(z)
    return z[:, 0] + z[:, 2] * counts[:, None]


def third(z: Tensor, mask: Tensor) -> Tensor:
    return z[:, 2] * (mask.sum(1) % 2).to(z)[:, None]


def gated_heads(y: Tensor, x: Tensor) -> Tensor:
    """Contiguous by the wrapper's account, which the numbers are not."""
    heads = y.view(*y.shape[:2], 2, -1).transpose(1, 2)
    return (heads * heads.sigmoid()).transpose(1, 2).contiguous().view(x.shape)


def gated_few_heads(y: Tensor, x: Tensor) -> Tensor:
    heads = F.gelu(y.view(*y.shape[:2], 2, -1).transpose(1, 2))
    return heads.transpose(1, 2).contiguous().view(x.shape)


def refused(y: Tensor, _x: Tensor) -> Tensor:
    """As by code outside torch, which wants memory."""
    if type(y) is not Tensor:
        raise TypeError("not a tensor")
    return y


def no_more(y: Tensor, _x: Tensor) -> Tensor:
    return y


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize(
    "read",
    [
        first,
        first_scaled,
        first_scaled_where_autograd_kept_it,
        first_or_last,
        first_by_the_largest,
        first_and_a_third_where_it_counts,
        first_and_a_third_in_some_batches,
        third,
    ],
)
@pytest.mark.parametrize("between", [no_more, refused, gated_heads, gated_few_heads])
def test_scores_are_autograds_whatever_is_read(between, read, size):
    model = Reader(between, read)
    rows = sorted(builders.examples(10, longest=14), key=lambda row: -len(row["input_ids"]))
    train = builders.batches(rows, size)
    test = builders.batches(builders.examples(3, longest=14, seed=2), 3)
    found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


@pytest.mark.parametrize("later", [False, True], ids=["always", "in a later batch"])
@pytest.mark.parametrize("between", WRITE.values(), ids=WRITE)
def test_scores_are_autograds_where_the_model_writes_in_place(between, later):
    """Later: in long texts alone."""
    rows = sorted(builders.examples(9, longest=14), key=lambda row: len(row["input_ids"]))
    train = builders.batches(rows, 3)
    longest = [batch["input_ids"].shape[1] for batch in train]
    assert longest[0] < 8 <= len(rows[-3]["input_ids"])
    train = [train[0], train[-1]]

    def between_if(y: Tensor, x: Tensor) -> Tensor:
        return between(y, x) if y.shape[1] >= 8 or not later else y

    model = Reader(between_if, first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nor is anything slow
        found = pairwise_influence(model, train, train[:1])
    assert oracle.relative_error(found, oracle.influence(model, train, train[:1])) < 1e-10


def overwritten_past_autograd(y: Tensor, x: Tensor) -> Tensor:
    """No version tells; only the proof can."""
    more = x.sin()
    total = y + more
    more.data.zero_()
    return total


def test_a_pass_that_the_proof_finds_wrong_is_made_again_with_all_tokens():
    model = Reader(overwritten_past_autograd, first_by_the_largest)
    train = builders.batches(builders.examples(7, longest=14), 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nor is anything slow
        found = pairwise_influence(model, train, train[:1])
    assert oracle.relative_error(found, oracle.influence(model, train, train[:1])) < 1e-10


def test_the_last_layer_is_computed_at_the_token_that_is_read(rests):
    model = builders.xlm_roberta()
    (batch,) = builders.batches(builders.examples(3), 3)
    length = batch["input_ids"].shape[1]
    rows: list[int] = []
    last = model.roberta.encoder.layer[-1].intermediate.dense

    def note(_module, _args, output):
        rows.append(output.few.shape[1] if isinstance(output, DeferredTokens) else output.shape[1])

    with last.register_forward_hook(note), GradientEngine(model) as engine:
        for _ in range(2):
            engine.per_example(batch, lambda _name, _gradient: None)
    # The proof: two examples together, three losses alone, autograd's own, and only then what it has shown.
    assert length > 1
    assert rows[:5].count(1) == 0
    assert rows[-2:] == [1, 1]
    assert not rests


def test_a_guess_that_no_longer_holds_is_given_up():
    """Tokens that had a gradient in one batch and none in another are all computed from then on."""
    model = Reader(no_more, first_or_last)
    rows = builders.examples(8, longest=14)
    long = [row for row in rows if len(row["input_ids"]) > 8]
    short = builders.examples(4, longest=5)
    with GradientEngine(model) as engine:
        read = engine._capture._readings.tokens_read
        for some, expected in ((long, (0,)), (short, ()), (long, ())):
            engine.per_example(builders.collate(some), lambda _name, _gradient: None)
            assert read[model.up] == expected


def test_nothing_of_a_pass_stays():
    model = builders.xlm_roberta()
    (batch,) = builders.batches(builders.examples(3), 3)
    kept: list[weakref.ref[Tensor]] = []
    last = model.roberta.encoder.layer[-1]

    def note(_module, _args, output):
        if isinstance(output, DeferredTokens):
            kept.extend((weakref.ref(output), weakref.ref(output.few)))

    gc.disable()
    try:
        with GradientEngine(model) as engine:
            for module in (
                last.intermediate.dense,
                last.output.LayerNorm,
                last.attention.output.dense,
            ):
                module.register_forward_hook(note)
            for _ in range(2):
                engine.per_example(batch, lambda _name, _gradient: None)
            assert kept
            assert not any(reference() is not None for reference in kept)
    finally:
        gc.enable()


def test_what_somebody_keeps_has_no_history():
    x = randn(B, T, D).requires_grad_()
    kept = deferred_of(x * 2)[0].detach()
    assert isinstance(kept, DeferredTokens)
    waiting = [kept]
    while waiting:
        given = [
            leaf for leaf in tree_leaves(waiting.pop()._rest._call) if isinstance(leaf, Tensor)
        ]
        assert all(leaf.grad_fn is None for leaf in given)
        waiting += [leaf for leaf in given if isinstance(leaf, DeferredTokens)]


def test_fewer_than_are_at_hand_need_no_others(rests):
    in_both_ways(lambda y, x: F.gelu(y) + x, lambda z: z[:, 0])
    assert not rests


def test_a_gradient_can_be_asked_for():
    y, _ = deferred_of(randn(B, T, D))
    y.retain_grad()
    y[:, 0].sum().backward()
    assert y.grad.sum() == y[:, 0].numel()


class LaterShared(nn.Module):
    """Looks positions up for each example, and in long texts once for all."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(builders.VOCABULARY, 8)
        self.places = nn.Embedding(64, 8)
        self.map, self.head = nn.Linear(8, 8), nn.Linear(8, builders.LABELS)
        self.double()

    def forward(self, input_ids, attention_mask, labels=None):
        size, tokens = input_ids.shape
        places = torch.arange(tokens).expand(1 if tokens > 8 else size, -1)
        x = torch.tanh(self.map(self.embedding(input_ids)) + self.places(places))
        mask = attention_mask[:, :, None]
        logits = self.head((x * mask).sum(1) / mask.sum(1))
        return SequenceClassifierOutput(loss=F.cross_entropy(logits, labels), logits=logits)


def test_what_is_shared_in_a_later_batch_alone_is_followed_there():
    model = LaterShared()
    rows = sorted(builders.examples(12, longest=14), key=lambda row: len(row["input_ids"]))
    train = builders.batches(rows, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pairwise_influence(model, train, train[:1])
    assert oracle.relative_error(found, oracle.influence(model, train, train[:1])) < 1e-10
