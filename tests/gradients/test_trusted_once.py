"""What a proof on a few examples of the first batch does not show: it must be found out, or never matter."""

import warnings
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import builders
import oracle
from sprachbund.errors import GradientError, SprachbundWarning
from sprachbund.gradients.batches import example_alone
from sprachbund.gradients.pairwise import mean_influence, pairwise_influence

WIDTH, PADDING, KEPT_OUT = 8, 1, 9
TRAIN, TEST = builders.examples(9, seed=1), builders.examples(5, seed=2)
SIMILARITIES = pytest.mark.parametrize("similarity", ["dot", "cosine"])


class Classifier(nn.Module):
    """The mean of what `body` makes of the embeddings, and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(builders.VOCABULARY, WIDTH)
        self.build()
        self.head = nn.Linear(WIDTH, builders.LABELS)
        self.double()

    def build(self):
        pass

    def body(self, x, attention_mask, **_rest):
        return x

    def logits(self, x, attention_mask, **rest):
        mask = attention_mask[:, :, None].to(x.dtype)
        pooled = (self.body(x, attention_mask, **rest) * mask).sum(1) / mask.sum(1)
        return self.head(pooled.tanh())

    def forward(self, input_ids, attention_mask, labels, **rest):
        logits = self.logits(self.embedding(input_ids), attention_mask, **rest)
        return SimpleNamespace(logits=logits, loss=F.cross_entropy(logits, labels))


def losses(model, batch):
    return F.cross_entropy(model(**batch).logits, batch["labels"], reduction="none")


def expected_influence(model, train, test, loss, similarity="dot"):
    """Autograd, one example at a time."""

    def gradients(batches):
        rows = []
        for batch in batches:
            for position in range(len(batch["labels"])):
                value = loss(model, oracle.alone(batch, position)).sum()
                parts = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
                rows.append(
                    torch.cat(
                        [
                            torch.zeros(p.numel()).double() if g is None else g.flatten()
                            for p, g in zip(model.parameters(), parts, strict=True)
                        ]
                    )
                )
        found = torch.stack(rows)
        return found / found.norm(dim=1, keepdim=True) if similarity == "cosine" else found

    return gradients(test) @ gradients(train).T


def check(model, train, test, similarity="dot", loss=None):
    found = pairwise_influence(model, train, test, similarity, loss=loss)
    expected = expected_influence(model, train, test, loss or losses, similarity)
    assert oracle.relative_error(found, expected) < 1e-10


def at_most(examples, tokens):
    return [example | {"input_ids": example["input_ids"][:tokens]} for example in examples]


def of_one_length(examples, size, length=6):
    ids = [example["input_ids"].repeat(length)[:length] for example in examples]
    rows = [example | {"input_ids": value} for example, value in zip(examples, ids, strict=True)]
    return builders.batches(rows, size)


class Sorting(Classifier):
    """Sorts the batch within, as packed sequences ask for."""

    def build(self):
        self.linear, self.norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)

    def key(self, attention_mask, **_rest):
        return -attention_mask.sum(1)

    def body(self, x, attention_mask, **rest):
        order = self.key(attention_mask, **rest).argsort(stable=True)
        return self.norm(self.linear(x[order]).tanh())[order.argsort()]


class SortingUpwards(Sorting):
    def key(self, attention_mask, **_rest):
        return attention_mask.sum(1)


class SortingByLanguage(Sorting):
    def key(self, attention_mask, language):
        return language


@SIMILARITIES
@pytest.mark.parametrize("kind", [Sorting, SortingUpwards, SortingByLanguage])
@pytest.mark.filterwarnings("ignore:.*differentiated one example at a time:UserWarning")
def test_a_model_that_sorts_its_batch_gives_each_example_its_own_gradient(kind, similarity):
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    if kind is SortingByLanguage:
        languages = torch.tensor([0, 1, 0, 1, 1])
        train, test = (
            [batch | {"language": languages[: len(batch["labels"])]} for batch in batches]
            for batches in (train, test)
        )
    with pytest.warns(SprachbundWarning, match="one example at a time"):
        check(kind(), train, test, similarity)


def adversarial(model, batch):
    """Of inputs that a gradient taken within has moved (fast gradient method)."""
    mask = batch["attention_mask"]
    with torch.enable_grad():
        x = model.embedding(batch["input_ids"])
        if "adversarial" not in batch:
            return F.cross_entropy(model.logits(x, mask), batch["labels"], reduction="none")
        moved = x.detach().requires_grad_()
        inner = F.cross_entropy(model.logits(moved, mask), batch["labels"], reduction="sum")
        (gradient,) = torch.autograd.grad(inner, moved)
        step = 0.3 * gradient / gradient.norm(dim=(1, 2), keepdim=True)
        return F.cross_entropy(model.logits(x + step, mask), batch["labels"], reduction="none")


def penalised(model, batch):
    """With the gradient's norm, differentiated through it."""
    with torch.enable_grad():
        x = model.embedding(batch["input_ids"]).detach().requires_grad_()
        logits = model.logits(x, batch["attention_mask"])
        value = F.cross_entropy(logits, batch["labels"], reduction="none")
        (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        return value + gradient.square().sum((1, 2))


class Deep(Classifier):
    def build(self):
        self.linear, self.norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)

    def body(self, x, attention_mask):
        return self.norm(self.linear(x).tanh())


@SIMILARITIES
@pytest.mark.parametrize("from_the_first", [True, False])
def test_a_backward_pass_within_the_loss_counts_for_nothing(from_the_first, similarity):
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    train = [batch | {"adversarial": torch.ones(1)} for batch in train]
    if from_the_first:
        test = [batch | {"adversarial": torch.ones(1)} for batch in test]
    check(Deep(), train, test, similarity, adversarial)


def test_a_loss_that_is_later_differentiated_through_a_gradient_is_an_error():
    def loss(model, batch):
        return penalised(model, batch) if "penalised" in batch else losses(model, batch)

    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    train = [batch | {"penalised": torch.ones(1)} for batch in train]
    with pytest.raises(GradientError, match="do not add up"):
        pairwise_influence(Deep(), train, test, loss=loss)


@SIMILARITIES
def test_a_loss_that_is_differentiated_through_a_gradient_is_left_to_autograd(similarity):
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with pytest.warns(SprachbundWarning, match="one example at a time"):
        check(Deep(), train, test, similarity, penalised)


class UsedTwice(Classifier):
    """In long batches a matrix is used outside its module, too."""

    def build(self):
        self.linear = nn.Linear(WIDTH, WIDTH)

    def body(self, x, attention_mask):
        y = self.linear(x).tanh()
        return F.linear(y, self.linear.weight) if x.shape[1] > 6 else y


class TableUsedTwice(Classifier):
    def body(self, x, attention_mask):
        if x.shape[1] <= 6:
            return x
        return x + (x @ self.embedding.weight.T).softmax(-1) @ self.embedding.weight


@pytest.mark.parametrize(("kind", "name"), [(UsedTwice, "linear"), (TableUsedTwice, "embedding")])
def test_a_proven_matrix_that_is_later_used_outside_its_module_is_an_error(kind, name):
    test = builders.batches(at_most(TEST, 5), 5)
    with pytest.raises(GradientError, match=rf"{name}\.weight do not add up"):
        pairwise_influence(kind(), builders.batches(TRAIN, 4), test)


class TwoTables(Classifier):
    """Source and target embeddings share a table; only one of them has a padding row."""

    def __init__(self, first_has_padding):
        self.first_has_padding = first_has_padding
        super().__init__()

    def build(self):
        self.target = nn.Embedding(builders.VOCABULARY, WIDTH)
        self.target.weight = self.embedding.weight
        (self.embedding if self.first_has_padding else self.target).padding_idx = KEPT_OUT

    def body(self, x, attention_mask, target):
        return x + self.target(target).mean(1, keepdim=True)


@SIMILARITIES
@pytest.mark.parametrize("first_has_padding", [True, False])
def test_tied_tables_have_a_padding_row_each_for_itself(first_has_padding, similarity):
    def with_targets(batch, token):
        ids = batch["input_ids"].masked_fill(batch["input_ids"] == KEPT_OUT, 8)
        ids[:, 0] = token
        return batch | {
            "input_ids": ids,
            "target": torch.tensor([[token, 11]]).repeat(len(ids), 1),
        }

    (first,) = builders.batches(TEST, 5)
    train = [with_targets(batch, KEPT_OUT) for batch in builders.batches(TRAIN, 4)]
    test = [with_targets(first, 7), with_targets(first, KEPT_OUT)]
    check(TwoTables(first_has_padding), train, test, similarity)


def balanced(model, batch):
    """By class weights of the batch's labels: of no example alone."""
    return losses(model, batch) / torch.bincount(batch["labels"])[batch["labels"]]


def test_a_loss_of_the_whole_batch_is_found_out_where_nothing_is_padded():
    (test,) = of_one_length(TEST, 5)
    test = [test | {"labels": torch.tensor([0, 1, 1, 1, 2])}]
    with pytest.raises(GradientError, match=r"alone and .* in a batch of 5"):
        pairwise_influence(Classifier(), of_one_length(TRAIN, 4), test, loss=balanced)


class Scaled(nn.Module):
    """A module without a rule, with a mask that its examples share."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x, mask=None):
        scores = (x * self.scale) @ x.mT
        return (scores if mask is None else scores + mask).softmax(-1) @ x


class Causal(Classifier):
    def build(self):
        self.attention = Scaled()

    def body(self, x, attention_mask):
        tokens = x.shape[1]
        mask = torch.full((tokens, tokens), -5.0, dtype=x.dtype).triu(1) if tokens > 4 else None
        return self.attention(x, mask)


def test_a_shared_mask_that_first_comes_with_as_many_examples_as_tokens_is_no_examples():
    test = of_one_length(TEST, 3, length=4)
    train = of_one_length(TRAIN[:8], 8, length=8)
    with pytest.raises(GradientError, match=r"attention\.scale do not add up"):
        pairwise_influence(Causal(), train, test)
    check(Causal(), of_one_length(TRAIN, 4, length=8), test)


@SIMILARITIES
def test_a_hook_on_a_parameter_leaves_it_to_autograd(similarity):
    """A row that is not trained, and that no test text has."""
    model = Classifier()
    row = torch.tensor([KEPT_OUT])
    model.embedding.weight.register_hook(lambda gradient: gradient.index_fill(0, row, 0.0))
    test = builders.batches(TEST, 5)
    for batch in test:
        batch["input_ids"].masked_fill_(batch["input_ids"] == KEPT_OUT, 8)
    train = builders.batches(TRAIN, 4)
    for batch in train:
        batch["input_ids"][:, 0] = KEPT_OUT
    with pytest.warns(SprachbundWarning, match=r"one example at a time.*embedding\.weight"):
        check(model, train, test, similarity)


class Keeping(nn.Module):
    """Keeps what it last saw, in a buffer and in a module within."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(WIDTH))
        self.within = nn.Identity()
        self.register_buffer("last", torch.zeros(()))

    def forward(self, x):
        self.within.seen, self.last = x.detach(), x.detach().mean()
        return x * self.scale


class WithKept(Classifier):
    def build(self):
        self.keeping = Keeping()

    def body(self, x, attention_mask):
        return self.keeping(x)


def test_what_a_module_keeps_is_a_plain_tensor_afterwards(tmp_path):
    model = WithKept()
    check(model, builders.batches(TRAIN, 4), builders.batches(TEST, 5))
    torch.save(model.state_dict(), tmp_path / "state")
    last = float(model.keeping.last)
    assert model.keeping.within.seen.mean().item() == pytest.approx(last)
    (test,) = builders.batches(TEST, 5)
    model(**test)
    assert float(model.keeping.last) != last, "it is a plain buffer that goes on"


class LateNorm(Classifier):
    def build(self):
        self.norm = nn.LayerNorm(WIDTH)

    def body(self, x, attention_mask):
        return self.norm(x) if x.shape[1] > 6 else x


def test_an_optimizer_in_the_backward_pass_takes_no_step():
    model, steps = LateNorm(), []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(steps.append)
    train, test = of_one_length(TRAIN, 4, length=8), of_one_length(TEST, 5, length=5)
    check(model, train, test)
    assert not steps
    model(**test[0]).loss.backward()
    assert steps, "the hooks are back"


class ByExample(Classifier):
    """One row of a table for each example, and modules on a vector that all share."""

    def build(self):
        self.language = nn.Embedding(5, WIDTH)
        self.task = nn.Parameter(torch.randn(WIDTH))
        self.project, self.norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)

    def body(self, x, attention_mask, language):
        return x + self.language(language)[:, None] + self.norm(self.project(self.task))


@SIMILARITIES
@pytest.mark.filterwarnings("ignore:.*one example at a time")
def test_one_id_an_example_and_a_vector_that_all_share(similarity):
    train, test = (
        [batch | {"language": torch.arange(len(batch["labels"])) % 3} for batch in batches]
        for batches in (builders.batches(TRAIN, 4), builders.batches(TEST, 5))
    )
    check(ByExample(), train, test, similarity)


class LearnedScale(nn.Embedding):
    def __init__(self, *size):
        super().__init__(*size)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, ids):
        return self.scale * super().forward(ids)


@pytest.mark.parametrize(
    "table", [LearnedScale, lambda *size: nn.Embedding(*size, sparse=True)], ids=["scale", "sparse"]
)
@pytest.mark.filterwarnings("ignore:.*one example at a time")
def test_tables_with_a_scale_or_sparse_gradients(table):
    model = Classifier()
    model.embedding = table(builders.VOCABULARY, WIDTH).double()
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    found = pairwise_influence(model, train, test)
    if table is not LearnedScale:
        model.embedding.sparse = False
    expected = expected_influence(model, train, test, losses)
    assert oracle.relative_error(found, expected) < 1e-10


def test_an_empty_training_batch_has_no_column():
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    empty = {name: value[:0] for name, value in train[0].items()}
    expected = pairwise_influence(Classifier(), train, test)
    found = pairwise_influence(Classifier(), [train[0], empty, *train[1:]], test)
    torch.testing.assert_close(found, expected)


def without_tokens(batch):
    mask = batch["attention_mask"].clone()
    mask[1] = 0
    return batch | {"attention_mask": mask}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda batch: batch | {"token_type_ids": None}, "token_type_ids of a batch is None"),
        (without_tokens, "leaves out every token of an example"),
    ],
)
def test_what_is_wrong_with_a_batch_is_named(changed, message):
    test = [changed(batch) for batch in builders.batches(TEST, 5)]
    with pytest.raises(GradientError, match=message):
        pairwise_influence(builders.xlm_roberta(), builders.batches(TRAIN, 4), test)


def test_what_allows_no_gradient_is_an_error_or_a_warning():
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with torch.inference_mode(), pytest.raises(GradientError, match="inference_mode"):
        pairwise_influence(Classifier(), train, test)

    def mapped(model, batch):
        x = torch.vmap(model.embedding)(batch["input_ids"])
        logits = model.logits(x, batch["attention_mask"])
        return F.cross_entropy(logits, batch["labels"], reduction="none")

    with pytest.raises(GradientError, match="transform of torch"):
        pairwise_influence(Classifier(), train, test, loss=mapped)
    with pytest.warns(SprachbundWarning, match="depends on none of the attributed parameters"):
        found = pairwise_influence(
            Classifier(), train, test, loss=lambda model, batch: losses(model, batch).detach()
        )
    assert not found.any()


def test_means_warn_of_gradients_that_vanish():
    def hinge(model, batch):
        return losses(model, batch) * (batch["labels"] > 0)

    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with pytest.warns(SprachbundWarning, match="training examples is zero"):
        mean_influence(Classifier(), train, test, [0, 0, 1, 1, 1], "cosine", loss=hinge)


def test_parameters_that_are_all_left_to_autograd_are_not_called_out_of_reach():
    """Only a hooked table is asked for: no module is watched, and its gradient is there."""
    model = Classifier()
    model.embedding.weight.register_hook(lambda gradient: gradient)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the loss of a batch depends on none")
        warnings.filterwarnings("ignore", ".*one example at a time", SprachbundWarning)
        found = pairwise_influence(
            model, train, test, parameters=lambda name: name == "embedding.weight"
        )
    assert found.any()


def test_weights_of_two_classes_are_no_examples_of_a_batch():
    """A tensor that all share and that has as many rows as the proof has examples."""

    def weighted(model, batch):
        return losses(model, batch) * batch["weights"].sum()

    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    weights = torch.tensor([[0.5, 1.5]]).double()
    expected = pairwise_influence(Classifier(), train, test) * 4
    train, test = ([b | {"weights": weights} for b in batches] for batches in (train, test))
    found = pairwise_influence(Classifier(), train, test, loss=weighted)
    torch.testing.assert_close(found, expected)


class Scripted(Classifier):
    def build(self):
        self.scale = nn.Parameter(torch.randn(WIDTH))
        self.within = torch.jit.script(nn.Tanh())

    def body(self, x, attention_mask):
        return self.within(x * self.scale)


@pytest.mark.filterwarnings("ignore:.*one example at a time", "ignore:.*torch.jit")
def test_a_scripted_module_within_is_no_obstacle():
    check(Scripted(), builders.batches(TRAIN, 4), builders.batches(TEST, 5))


@pytest.mark.parametrize("wrapped", [False, True])
def test_labels_of_a_decoder_are_no_tokens_of_the_encoder(wrapped):
    """As long as the text by chance, and in a wrapper that has no configuration of its own."""
    decoder = nn.Linear(2, 2)
    model = nn.Module()
    model.config, model.decoder = SimpleNamespace(is_encoder_decoder=True), decoder
    if wrapped:
        model, inner = nn.Module(), model
        model.inner = inner
    batch = {
        "input_ids": torch.tensor([[5, 6, 1]]),
        "attention_mask": torch.tensor([[1, 1, 0]]),
        "labels": torch.tensor([[7, 8, 9]]),
    }
    alone = example_alone(model, batch, 0)
    assert alone["input_ids"].tolist() == [[5, 6]]
    assert alone["labels"].tolist() == [[7, 8, 9]]
    (model.inner if wrapped else model).decoder = None  # its encoder alone tags tokens
    assert example_alone(model, batch, 0)["labels"].tolist() == [[7, 8]]


class Swapped(Classifier):
    """A layer that works on the examples in another order, and counts for as much as the batch says."""

    def build(self):
        self.inner = nn.Linear(WIDTH, WIDTH)

    def body(self, x, attention_mask, weight):
        return x + weight[:, :, None] * self.inner(x.roll(1, 0)).roll(-1, 0)


@pytest.mark.parametrize("at_first", [1.0, 1e-14])
def test_what_is_too_small_to_be_proven_at_first_is_proven_once_it_counts(at_first):
    """At first the layer's gradient is far below what the proof allows for rounding, by right or by wrong."""
    model = Swapped()

    def weighted(batches, first):
        values = [first] + [1.0] * len(batches)
        return [
            batch | {"weight": torch.full((len(batch["labels"]), 1), value).double()}
            for batch, value in zip(batches, values, strict=False)
        ]

    test = weighted(builders.batches(TEST, 5), at_first)
    train = weighted(builders.batches(TRAIN, 4), at_first)

    if at_first == 1.0:
        with pytest.warns(SprachbundWarning, match="2 parameters"):
            check(model, train, test)
        return
    with pytest.raises(GradientError, match=r"inner\.\w+ do not add up"):
        pairwise_influence(model, train, test)
