"""The sketch: a linear map that keeps inner products in expectation, by the error that is stated."""

import math
import statistics

import pytest
import torch

import builders
import oracle
from architectures import ARCHITECTURES, collate
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.per_example import (
    DenseGradient,
    OuterGradient,
    RowGradient,
    TiedGradient,
)
from sprachbund.index.gradients import sketch_batch
from sprachbund.index.principal import principal_directions
from sprachbund.index.sketch import SignSketch

ROWS = builders.examples(6, seed=1)


def sketches(model, batches, dimension=512, seed=0):
    with GradientEngine(model) as engine:
        sketch = SignSketch(dimension, seed, engine.device)
        parts = [sketch_batch(engine, sketch, batch) for batch in batches]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def test_inner_products_are_right_on_average_with_the_stated_deviation():
    model = builders.xlm_roberta()
    batch = builders.batches(ROWS, 6)
    gradients = oracle.gradients(model, batch)
    expected = gradients @ gradients.T
    scale = gradients.norm(dim=1)[:, None] * gradients.norm(dim=1)[None, :]
    dimension, seeds = 512, 60
    errors = []
    for seed in range(seeds):
        sketch = sketches(model, batch, dimension, seed)[0].double()
        errors.append(((sketch @ sketch.T - expected) / scale)[0, 1:])
    error = torch.stack(errors)
    deviation = math.sqrt(float(error.square().mean()))
    assert float(error.mean(0).abs().max()) < 4 * deviation / math.sqrt(seeds), "must be unbiased"
    assert 0.5 / math.sqrt(dimension) < deviation < 1.6 / math.sqrt(dimension)


def test_norms_are_exact_and_sketches_do_not_depend_on_the_batch():
    model = builders.xlm_roberta()
    together, norms = sketches(model, builders.batches(ROWS, 6))
    alone, _ = sketches(model, builders.batches(ROWS, 1, 3))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    expected = oracle.gradients(model, builders.batches(ROWS, 6)).norm(dim=1)
    torch.testing.assert_close(norms.double(), expected, rtol=1e-5, atol=0)


def test_the_sketch_is_linear_in_the_gradient():
    """Twice the loss is twice the sketch: no sign or place may depend on the values."""
    model = builders.xlm_roberta()
    batch = builders.batches(ROWS, 6)

    def doubled(model, batch):
        return 2 * torch.nn.functional.cross_entropy(
            model(**batch).logits, batch["labels"], reduction="none"
        )

    with GradientEngine(model, loss=doubled) as engine:
        twice, _ = sketch_batch(engine, SignSketch(512, 0, engine.device), batch[0])
    torch.testing.assert_close(twice, 2 * sketches(model, batch)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5)], ids=["wide", "long"])
def test_a_matrix_is_compressed_alike_from_factors_and_written_out(shape):
    """A query may differentiate a weight another way than the build did."""
    random = torch.Generator().manual_seed(0)
    left, right = (torch.randn(3, 4, size, generator=random) for size in shape)
    sketch = SignSketch(16, 0, torch.device("cpu"))
    factors, written = torch.zeros(3, 16), torch.zeros(3, 16)
    sketch.add_to(factors, "weight", OuterGradient(left, right))
    sketch.add_to(written, "weight", DenseGradient(torch.einsum("bto,bti->boi", left, right)))
    torch.testing.assert_close(written, factors)


@pytest.mark.parametrize("shape", [(256, 256), (256, 1024), (320, 200)])
def test_one_strong_feature_costs_no_more_than_is_stated(shape):
    """Large models have features many times as large as others: nearly all of a gradient is then in one column."""
    random = torch.Generator().manual_seed(0)
    left, right = (torch.randn(6, 8, size, generator=random) for size in shape)
    right[:, :, 7] *= 30
    gradient = OuterGradient(left, right)
    flat = torch.einsum("bto,bti->boi", left, right).flatten(1).double()
    units = flat / flat.norm(dim=1, keepdim=True)
    dimension, errors = 4096, []
    for seed in range(40):
        found = torch.zeros(6, dimension)
        SignSketch(dimension, seed, torch.device("cpu")).add_to(found, "weight", gradient)
        sketch = found.double() / flat.norm(dim=1, keepdim=True)
        errors.append((sketch @ sketch.T - units @ units.T)[~torch.eye(6, dtype=torch.bool)])
    error = torch.stack(errors)
    deviation = math.sqrt(float(error.square().mean()))
    assert float(error.mean(0).abs().max()) < 4 * deviation / math.sqrt(len(errors))
    assert deviation < 1.6 / math.sqrt(dimension)


def test_another_seed_gives_another_sketch_and_the_same_one_the_same():
    model, batch = builders.xlm_roberta(), builders.batches(ROWS, 6)
    first, again, other = (sketches(model, batch, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("dimension", [512, 12])
def test_the_head_of_a_tied_table_is_compressed_by_the_map_of_its_rows(dimension):
    """Against the written-out gradient of the table, one embedding row for each of its rows."""
    torch.manual_seed(0)
    tokens, rows, width = 5, 40, 16
    left, right = torch.randn(2, tokens, rows), torch.randn(2, tokens, width)
    read, values = torch.randint(1, rows, (2, tokens)), torch.randn(2, tokens, width)
    table = torch.einsum("bto,bti->boi", left, right)
    table.index_put_((torch.arange(2)[:, None].expand_as(read), read), values, accumulate=True)
    tied = TiedGradient(RowGradient(read, values, rows, 0), OuterGradient(left, right))
    every = torch.arange(rows).expand(2, rows)
    written_out = RowGradient(every, table, rows, None)
    found, expected = torch.zeros(2, dimension), torch.zeros(2, dimension)
    sketch = SignSketch(dimension, 0, torch.device("cpu"))
    norms = sketch.add_to(found, "table", tied)
    sketch.add_to(expected, "table", written_out)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norms, table.double().square().sum((1, 2)), rtol=1e-5, atol=0)


def test_a_model_with_a_tied_head_is_compressed_with_the_stated_deviation():
    name = "bert-mlm, tied"
    model, batch = ARCHITECTURES[name].model(torch.float32), collate(ROWS, name)
    expected = oracle.gradients(model, [batch])
    units = expected / expected.norm(dim=1, keepdim=True)
    dimension = 512
    found = [sketches(model, [batch], dimension, seed) for seed in range(20)]
    torch.testing.assert_close(found[0][1].double(), expected.norm(dim=1), rtol=1e-5, atol=0)
    scale = expected.norm(dim=1, keepdim=True)
    errors = torch.stack(
        [(sketch / scale) @ (sketch / scale).T - units @ units.T for sketch, _ in found]
    )
    deviation = math.sqrt(float(errors[:, 0, 1:].square().mean()))
    assert float(errors[:, 0, 1:].mean(0).abs().max()) < 4 * deviation / math.sqrt(len(found))
    assert 0.5 / math.sqrt(dimension) < deviation < 1.6 / math.sqrt(dimension)


def test_principal_directions_are_orthonormal_and_keep_what_a_low_rank_set_spans():
    torch.manual_seed(0)
    values = torch.randn(40, 5) @ torch.randn(5, 300)
    directions = principal_directions(values, 20)
    assert directions.shape == (300, 5), "five directions carry everything"
    torch.testing.assert_close(directions.T @ directions, torch.eye(5), rtol=0, atol=1e-4)
    kept = values @ directions
    torch.testing.assert_close(kept @ kept.T, values @ values.T, rtol=1e-3, atol=1e-2)
    shares = principal_directions(torch.randn(40, 300), 10)
    assert statistics.fmean(shares.norm(dim=0).tolist()) == pytest.approx(1.0, abs=1e-4)
