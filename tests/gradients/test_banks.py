"""What the bank may be asked for beside one row for each test example: less memory, or means of many examples."""

import gc
import warnings
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import oracle
from sprachbund.errors import GradientError, SprachbundWarning
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.memory import bank_nbytes
from sprachbund.gradients.pairwise import mean_influence, pairwise_influence
from sprachbund.gradients.scoring import fill_bank, fill_means, score_batch

TRAIN, TEST = builders.examples(9, seed=1), builders.examples(6, seed=2)
LONG = builders.examples(6, longest=60, seed=4)


@pytest.mark.parametrize("rows", [TEST, LONG])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_bank_takes_no_more_memory_than_foretold(rows, dtype):
    model = builders.xlm_roberta()
    longest = max(len(row["input_ids"]) for row in rows)
    with GradientEngine(model) as engine:
        kept = torch.bfloat16 if dtype == "bfloat16" else None
        bank = fill_bank(engine, builders.batches(rows, 3), kept).bank
        foretold = bank_nbytes(engine.selection, longest, len(rows), dtype)
    assert 0.3 * foretold < bank.nbytes <= foretold


def test_the_bank_of_a_tied_head_takes_no_more_memory_than_foretold():
    from architectures import ARCHITECTURES, collate

    model = ARCHITECTURES["bert-mlm, tied"].model(torch.float32)
    longest = max(len(row["input_ids"]) for row in TEST) + 1
    with GradientEngine(model) as engine:
        bank = fill_bank(engine, [collate(TEST, "bert-mlm, tied")]).bank
        foretold = bank_nbytes(engine.selection, longest, len(TEST), "float32")
    assert 0.3 * foretold < bank.nbytes <= foretold


@pytest.mark.parametrize("longest", [4, 20])
def test_the_bank_of_shared_layers_takes_no_more_memory_than_foretold(longest):
    """ALBERT's layers are one module: it has the tokens of all, and may be written out where one layer is not."""
    from architectures import ARCHITECTURES, collate

    model = ARCHITECTURES["albert"].model(torch.float32)
    batch = collate(builders.examples(6, longest, seed=2), "albert")
    tokens = batch["input_ids"].shape[1]
    with GradientEngine(model) as engine:
        calls = engine.calls(batch)
        bank = fill_bank(engine, [batch]).bank
        foretold = bank_nbytes(engine.selection, tokens, 6, "float32", calls)
    assert set(calls.values()) == {1, model.config.num_hidden_layers}
    assert 0.3 * foretold < bank.nbytes <= foretold


def test_a_bfloat16_bank_keeps_three_digits_and_the_ranks_of_clear_winners():
    model = builders.xlm_roberta()
    train, test = builders.batches(builders.examples(40, 60, seed=5), 8), builders.batches(LONG, 6)
    exact = pairwise_influence(model, train, test, "cosine")
    rounded = pairwise_influence(model, train, test, "cosine", bank_dtype="bfloat16")
    assert 0 < oracle.relative_error(rounded, exact.double()) < 4e-3
    assert torch.equal(exact.argmax(dim=1), rounded.argmax(dim=1))


def test_the_bank_takes_no_more_memory_than_foretold_where_the_first_batch_is_the_shortest():
    """The form of a matrix is chosen once; chosen by short texts, long ones would take too much."""
    model = builders.xlm_roberta()
    rows = builders.examples(4, longest=3, seed=5) + builders.examples(4, longest=60, seed=6)
    longest = max(len(row["input_ids"]) for row in rows)
    assert longest > 40
    with GradientEngine(model) as engine:
        bank = fill_bank(engine, builders.batches(rows, 4)).bank
        foretold = bank_nbytes(engine.selection, longest, len(rows), "float32")
    assert bank.nbytes <= foretold


@pytest.mark.parametrize("name", ["xlm-roberta", "mixtral", "deberta-v2", "bert-mlm, tied"])
def test_a_bank_keeps_no_pass_alive_and_goes_with_its_last_user(name):
    from architectures import ARCHITECTURES, collate

    model = ARCHITECTURES[name].model(torch.float32)
    gc.collect()
    gc.disable()  # the collector comes too late for gigabytes
    try:
        with warnings.catch_warnings(), GradientEngine(model) as engine:
            warnings.simplefilter("ignore", SprachbundWarning)
            bank = fill_bank(engine, [collate(TEST[:3], name), collate(TEST[3:], name)]).bank
            score_batch(engine, bank, collate(TRAIN, name))
            gone = weakref.ref(bank)
            del bank
            assert gone() is None
    finally:
        gc.enable()


def test_norms_and_losses_are_in_the_order_of_the_test_examples():
    model = builders.xlm_roberta(torch.float64)
    rows = builders.examples(3, longest=4, seed=5) + builders.examples(3, longest=40, seed=6)
    with GradientEngine(model) as engine:
        together = fill_bank(engine, builders.batches(rows, 2))
        apart = [fill_bank(engine, builders.batches([row], 1)) for row in rows]
    assert torch.allclose(together.norm_M, torch.cat([one.norm_M for one in apart]), rtol=1e-12)
    assert torch.allclose(together.loss_M, torch.cat([one.loss_M for one in apart]), rtol=1e-12)


@pytest.mark.parametrize("longest", [3, 60])
def test_a_bank_of_means_of_a_matrix_does_not_grow_with_the_examples(longest):
    model = builders.xlm_roberta()
    matrix = "roberta.encoder.layer.0.intermediate.dense.weight"
    sizes = []
    for count in (200, 400):
        rows = builders.batches(builders.examples(count, longest, seed=3), 50)
        with GradientEngine(model, parameters=matrix.__eq__) as engine:
            groups, weights = torch.arange(count) % 2, torch.full((count,), 2 / count)
            sizes.append(fill_means(engine, rows, groups, weights).nbytes)
    assert sizes[0] == sizes[1]


@settings(max_examples=12, deadline=None)
@given(
    groups=st.lists(st.integers(0, 2), min_size=6, max_size=6).filter(
        lambda g: set(g) == {0, 1, 2}
    ),
    similarity=st.sampled_from(["dot", "cosine"]),
    longest=st.sampled_from([5, 60]),
    size=st.integers(1, 6),
)
def test_means_equal_the_mean_of_the_pairwise_scores(groups, similarity, longest, size):
    model = builders.xlm_roberta(torch.float64)
    rows = builders.examples(6, longest, seed=7)
    train, test = builders.batches(TRAIN, 4), builders.batches(rows, size)
    found = mean_influence(model, train, test, groups, similarity)
    scores = oracle.influence(model, train, test, similarity)
    for group in range(3):
        chosen = [position for position, of in enumerate(groups) if of == group]
        assert oracle.relative_error(found[group], scores[chosen].mean(0)) < 1e-10


def test_means_of_a_model_with_tied_tables_and_shared_parameters_are_exact():
    from architectures import ARCHITECTURES, collate

    for name in ("bert-mlm, tied", "deberta-v2"):
        model = ARCHITECTURES[name].model(torch.float32)
        train, test = [collate(TRAIN, name)], [collate(TEST, name)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SprachbundWarning)
            found = mean_influence(model, train, test, [0, 0, 0, 1, 1, 1], "cosine")
        scores = oracle.influence(model, train, test, "cosine")
        expected = torch.stack([scores[:3].mean(0), scores[3:].mean(0)])
        assert oracle.relative_error(found, expected) < 1e-5


@pytest.mark.parametrize(
    ("groups", "message"),
    [([0, 1], "2 groups for 6"), ([0, 0, 0, 2, 2, 2], "without gaps"), ([-1] * 6, "without gaps")],
)
def test_groups_that_do_not_fit_are_an_error(groups, message):
    with pytest.raises(GradientError, match=message):
        mean_influence(
            builders.xlm_roberta(), builders.batches(TRAIN, 4), builders.batches(TEST, 4), groups
        )
