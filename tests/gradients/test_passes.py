"""Several passes over the training set: by part of the parameters, or of the test examples, or of both."""

import gc
import warnings
import weakref

import pytest
import torch

import builders
import oracle
from architectures import ARCHITECTURES, collate
from sprachbund.errors import ConfigurationError, GradientError, SprachbundWarning
from sprachbund.gradients import pairwise
from sprachbund.gradients.bank import Bank
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.memory import bank_nbytes, parameter_nbytes
from sprachbund.gradients.pairwise import pairwise_influence
from sprachbund.gradients.parameters import Selection
from sprachbund.gradients.passes import Portion, Work, passes_in_words, portions_within

TRAIN, TEST = builders.examples(9, seed=1), builders.examples(6, seed=2)


def selection_of(model: torch.nn.Module) -> Selection:
    with GradientEngine(model) as engine:
        return engine.selection


def room_for(model: torch.nn.Module, examples: int, part: float = 1.0) -> int:
    return int(part * bank_nbytes(selection_of(model), 20, examples, "float32"))


def largest(selection: Selection, examples: int) -> int:
    """What the largest parameter's gradients take."""
    return max(
        parameter_nbytes(selection, name, 20, examples, "float32") for name in selection.parameters
    )


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("part", [0.6, 0.3, 0.1])
def test_a_bank_that_does_not_fit_is_scored_in_passes_and_says_so(similarity, part):
    model = builders.xlm_roberta(torch.float64)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 4)
    room = room_for(model, len(TEST), part)
    with pytest.warns(SprachbundWarning, match="passed over [0-9]+ times"):
        found = pairwise_influence(model, train, test, similarity, memory=str(room))
    assert oracle.relative_error(found, oracle.influence(model, train, test, similarity)) < 1e-10


@pytest.mark.parametrize("name", ["albert", "deberta-v2", "bert-mlm, tied", "mt5", "mixtral"])
def test_passes_by_part_of_the_parameters_add_up_in_every_architecture(name):
    model = ARCHITECTURES[name].model(torch.float64)
    train, test = [collate(TRAIN[:4], name), collate(TRAIN[4:], name)], [collate(TEST, name)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SprachbundWarning)
        whole = pairwise_influence(model, train, test, "cosine")
        room = room_for(model, len(TEST))
        found = pairwise_influence(model, train, test, "cosine", memory=str(room))
    assert oracle.relative_error(found, whole.double()) < 1e-10


def test_a_pass_of_small_gradients_is_proven_by_the_measure_of_the_whole():
    """Longformer's key biases have rounding noise for a gradient, which nothing in their own pass exceeds by much."""
    model = ARCHITECTURES["longformer"].model(torch.float32)
    train, test = (
        [collate(rows[:4], "longformer"), collate(rows[4:], "longformer")] for rows in (TRAIN, TEST)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SprachbundWarning)
        whole = pairwise_influence(model, train, test, "cosine")
        room = str(room_for(model, len(TEST), 0.5))
        found = pairwise_influence(model, train, test, "cosine", memory=room)
    assert oracle.relative_error(found, whole.double()) < 1e-5


def test_a_model_is_left_as_it_was_found_when_a_later_pass_fails():
    model = builders.xlm_roberta().train()
    test = builders.batches(TEST, 4)
    once = iter(builders.batches(TRAIN, 4))
    hooked = [name for name, module in model.named_modules() if "forward" in vars(module)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SprachbundWarning)
        with pytest.raises(GradientError, match="already consumed"):
            pairwise_influence(model, once, test, memory=str(room_for(model, len(TEST), 0.5)))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert hooked == [n for n, module in model.named_modules() if "forward" in vars(module)]
    assert not any(module._forward_hooks for module in model.modules())


def test_training_batches_whose_order_changes_between_passes_are_an_error():
    model = builders.xlm_roberta()
    room = str(room_for(model, len(TEST), 0.5))

    class Shuffled:
        passes = 0

        def __iter__(self):
            self.passes += 1
            rows = TRAIN if self.passes % 2 else TRAIN[::-1]
            return iter(builders.batches(rows, 4))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SprachbundWarning)
        with pytest.raises(GradientError, match="changed between passes"):
            pairwise_influence(model, Shuffled(), builders.batches(TEST, 4), memory=room)


def test_a_memory_too_small_for_one_parameter_is_an_error_that_says_what_it_takes():
    model = builders.xlm_roberta()
    with pytest.raises(ConfigurationError, match="1 KiB, but those of one test example for one"):
        pairwise_influence(
            model, builders.batches(TRAIN, 4), builders.batches(TEST, 4), memory="1KiB"
        )


def assert_each_once(portions: tuple[Portion, ...], selection: Selection, tests: int) -> None:
    """Every test example meets every parameter in exactly one portion."""
    met = [
        (test, name)
        for portion in portions
        for test in range(portion.tests.start, portion.tests.stop)
        for name in portion.parameters
    ]
    assert len(met) == len(set(met)) == tests * len(selection.parameters)


@pytest.mark.parametrize("part", [1.0, 0.5, 0.3, 0.05, 0.01])
@pytest.mark.parametrize("train", [5, 10_000])
def test_portions_fit_and_hold_everything_once(part, train):
    selection = selection_of(builders.xlm_roberta())
    room = max(int(part * bank_nbytes(selection, 20, 40, "float32")), largest(selection, 1))
    portions = portions_within(room, selection, Work(train, 40, 20))
    assert_each_once(portions, selection, 40)
    for portion in portions:
        size = portion.tests.stop - portion.tests.start
        foretold = sum(
            parameter_nbytes(selection, name, 20, size, "float32") for name in portion.parameters
        )
        assert foretold <= portion.nbytes <= room
    assert (len(portions) == 1) == (part == 1.0)


def test_many_training_examples_are_passed_over_by_part_of_the_parameters():
    """Passes by part of the test examples would compute every training gradient anew."""
    selection = selection_of(builders.xlm_roberta())
    room = max(bank_nbytes(selection, 20, 20, "float32"), largest(selection, 40))
    portions = portions_within(room, selection, Work(10_000, 40, 20))
    assert len(portions) > 1
    assert all(portion.tests == slice(0, 40) for portion in portions)


def test_few_training_examples_are_passed_over_by_part_of_the_test_examples():
    """Passes by part of the parameters would compute every test gradient's forward pass anew."""
    selection = selection_of(builders.xlm_roberta())
    room = max(bank_nbytes(selection, 20, 10, "float32"), largest(selection, 10))
    portions = portions_within(room, selection, Work(1, 40, 20))
    assert all(portion.parameters == selection.parameters.keys() for portion in portions)


def test_parts_of_the_parameters_are_successive_from_the_lowest():
    """Nothing is propagated back below the lowest parameter of a pass."""
    selection = selection_of(builders.xlm_roberta())
    room = max(bank_nbytes(selection, 20, 20, "float32"), largest(selection, 40))
    portions = portions_within(room, selection, Work(10_000, 40, 20))
    names = list(selection.parameters)
    positions = [sorted(names.index(name) for name in portion.parameters) for portion in portions]
    assert [i for part in positions for i in part] == list(range(len(names)))


def test_the_number_of_passes_is_said_with_what_each_has():
    name, other = frozenset({"a"}), frozenset({"b"})
    first, second = slice(0, 3), slice(3, 6)
    assert passes_in_words((Portion(first, name, 1),)) == "one pass at each checkpoint"
    by_parameters = passes_in_words((Portion(first, name, 1), Portion(first, other, 1)))
    assert "2 passes at each checkpoint, each for a part of the parameters" in by_parameters
    by_tests = passes_in_words((Portion(first, name, 1), Portion(second, name, 1)))
    assert "2 passes at each checkpoint, each for a part of the test examples" in by_tests
    both = tuple(Portion(t, p, 1) for t in (first, second) for p in (name, other))
    assert (
        "4 passes at each checkpoint, each for a part of the test examples and the parameters"
        in passes_in_words(both)
    )


class Encoder(torch.nn.Module):
    """PyTorch's own encoder, which has a fast path for what requires no gradient."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(builders.VOCABULARY, 8)
        layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, 2)
        self.head = torch.nn.Linear(8, builders.LABELS)

    def forward(self, input_ids, attention_mask, **_labels):
        hidden = self.encoder(self.embedding(input_ids), src_key_padding_mask=attention_mask == 0)
        return self.head(hidden[:, 0])


def cross_entropy(model, batch):
    logits = model(**batch)
    return torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="none")


def of_encoder(**options) -> torch.Tensor:
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 4)
    model = Encoder().double()
    return pairwise_influence(model, train, test, "dot", cross_entropy, **options)


def test_pytorchs_own_encoder_takes_no_fast_path_where_nothing_below_has_a_gradient():
    is_enabled = torch.backends.mha.get_fastpath_enabled()
    by_parts = of_encoder(parameters=lambda name: name.startswith("head"))
    by_parts = by_parts + of_encoder(parameters=lambda name: not name.startswith("head"))
    room = str(room_for(Encoder().double(), len(TEST), 0.5))
    with pytest.warns(SprachbundWarning, match="passed over"):
        found = of_encoder(memory=room)
    whole = of_encoder()
    assert oracle.relative_error(found, whole) < 1e-10
    assert oracle.relative_error(by_parts, whole) < 1e-10
    assert torch.backends.mha.get_fastpath_enabled() == is_enabled


def test_a_changed_order_is_found_out_though_all_losses_are_as_good_as_zero():
    model = builders.xlm_roberta()
    with torch.no_grad():
        model.classifier.out_proj.bias[0] += 14
    rows = [row | {"labels": torch.tensor(0)} for row in TRAIN]
    room = str(room_for(model, len(TEST), 0.5))

    class Shuffled:
        passes = 0

        def __iter__(self):
            self.passes += 1
            return iter(builders.batches(rows if self.passes % 2 else rows[::-1], 4))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SprachbundWarning)
        with pytest.raises(GradientError, match="changed between passes"):
            pairwise_influence(model, Shuffled(), builders.batches(TEST, 4), memory=room)


def test_there_is_one_bank_at_a_time(monkeypatch):
    """Else several passes would take twice the memory that they were to fit."""
    alive: list[int] = []
    banks: weakref.WeakSet[Bank] = weakref.WeakSet()
    filling = pairwise.fill_bank

    def watched(*args):
        gc.collect()
        alive.append(len(banks))
        filled = filling(*args)
        banks.add(filled.bank)
        return filled

    monkeypatch.setattr(pairwise, "fill_bank", watched)
    model = builders.xlm_roberta()
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 4)
    with pytest.warns(SprachbundWarning, match="passed over"):
        pairwise_influence(model, train, test, memory=str(room_for(model, len(TEST), 0.3)))
    assert len(alive) > 2
    assert set(alive) == {0}
