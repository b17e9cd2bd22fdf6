"""Products, by whichever library does them, against float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import oracle
from sprachbund.gradients import products
from sprachbund.gradients.pairwise import pairwise_influence
from sprachbund.gradients.products import (
    add_product,
    linear,
    padded_columns,
    product,
    through_linear,
)


@pytest.fixture(params=[False, True], ids=["amd", "intel"], autouse=True)
def is_on_intel(request, monkeypatch) -> bool:
    """As if the processor were the other maker's, too: either way the numbers are right."""
    monkeypatch.setattr(products, "is_on_intel", lambda: request.param)
    return request.param


@pytest.mark.parametrize("columns", [1, 2, 8, 16, 61, 64, 65, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_are_added_to_what_is_there(columns, dtype):
    generator = torch.Generator().manual_seed(columns)
    rows, matrix, target = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((5, 3000), (3000, columns), (5, columns))
    )
    expected = target + rows @ matrix
    found = target.to(dtype)
    add_product(found, rows.to(dtype), matrix.to(dtype))
    tolerance = 2e-6 if dtype == torch.float32 else 1e-13
    assert float((found.double() - expected).norm() / expected.norm()) < tolerance
    alone = product(rows.to(dtype), matrix.to(dtype)).double()
    assert float((alone - rows @ matrix).norm() / expected.norm()) < tolerance


@pytest.mark.parametrize(("size", "columns"), [(1, 1), (2, 8), (8, 8), (9, 16), (125, 128)])
def test_columns_are_padded_to_whole_vectors(size, columns):
    assert padded_columns(size) == columns


LAYOUTS = {
    "as they come": lambda value: value,
    "every second of the last axis": lambda value: value.repeat_interleave(2, -1)[..., ::2],
    "a column first": lambda value: value.mT.contiguous().mT if value.dim() > 1 else value,
    "after others": lambda value: torch.cat([value, value])[len(value) :],
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("tokens", "columns", "rows"),
    [(3, 8, 5), (1024, 256, 256), (700, 96, 600), (1024, 320, 1024), (512, 256, 96)],
)
def test_linear_maps_and_their_gradients_by_either_library(tokens, columns, rows, bias, layout):
    generator = torch.Generator().manual_seed(tokens)
    x, g, weight, offset = (
        LAYOUTS[layout](torch.randn(*shape, generator=generator))
        for shape in ((2, tokens, columns), (2, tokens, rows), (rows, columns), (rows,))
    )
    expected = F.linear(x.double(), weight.double(), offset.double() if bias else None)
    found = linear(x, weight, offset if bias else None).double()
    assert found.shape == expected.shape
    assert float((found - expected).norm() / expected.norm()) < 1e-6
    expected, found = g.double() @ weight.double(), through_linear(g, weight).double()
    assert found.shape == expected.shape
    assert float((found - expected).norm() / expected.norm()) < 1e-6


@pytest.fixture
def calls(monkeypatch):
    """How often oneDNN was asked."""
    made, by_onednn = [], products._by_onednn

    def noted(*arguments):
        made.append(arguments)
        return by_onednn(*arguments)

    monkeypatch.setattr(products, "_by_onednn", noted)
    return made


def test_whole_numbers_of_blocks_of_tokens_go_to_onednn_and_no_others(calls, is_on_intel):
    """There and back, on Intel only there."""
    weight, both = torch.randn(256, 256), 1 if is_on_intel else 2
    for tokens, expected in ((1024, both), (1023, 0), (3072, both), (0, 0)):
        calls.clear()
        assert linear(torch.randn(tokens, 256), weight, None).shape == (tokens, 256)
        assert through_linear(torch.randn(tokens, 256), weight).shape == (tokens, 256)
        assert len(calls) == expected


@pytest.mark.parametrize("rows", [256, 2048])
def test_weights_beyond_a_cache_go_to_onednn_where_it_is_faster(rows, calls, is_on_intel):
    linear(torch.randn(1024, 256), torch.randn(rows, 256), None)
    assert bool(calls) == (rows == 256 or not is_on_intel)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_stay_with_torch(dtype, calls):
    x, weight = torch.randn(4096, 256).to(dtype), torch.randn(256, 256).to(dtype)
    assert linear(x, weight, None).dtype == through_linear(x, weight).dtype == dtype
    assert torch.equal(linear(x, weight, None), F.linear(x, weight))
    assert not calls


class OwnWays(Tensor):
    """A weight with operators of its own, as quantised ones have."""


@pytest.mark.filterwarnings("ignore:TF32")
def test_weights_of_other_kinds_stay_with_torch(calls):
    x = torch.randn(1024, 16)
    linear(x, torch.randn(8, 16).as_subclass(OwnWays), None)
    linear(x, torch.eye(16).to_sparse(), None)
    with torch.backends.mkldnn.flags(enabled=False):
        linear(x, torch.randn(8, 16), None)
    assert not calls


@pytest.mark.parametrize("bias", [torch.randn(256)[::2], torch.randn(1).expand(128)])
def test_scores_with_a_bias_that_is_strided_in_memory(bias, calls):
    """Against autograd example by example, where oneDNN would read the wrong numbers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 3))
    model[0].bias = nn.Parameter(bias)

    def loss(model, batch):
        logits = model(batch["x"]).mean(1)
        return F.cross_entropy(logits, batch["labels"], reduction="none")

    def batch(size):
        return {"x": torch.randn(size, 256, 64), "labels": torch.randint(0, 3, (size,))}

    train, test = [batch(8)], [batch(4)]
    found = pairwise_influence(model, train, test, loss=loss)
    assert calls  # the second linear map's bias is as usual

    def gradients(batch):
        each = [
            {name: value[[row]] for name, value in batch.items()} for row in range(len(batch["x"]))
        ]
        parts = [torch.autograd.grad(loss(model, one)[0], list(model.parameters())) for one in each]
        return torch.stack([torch.cat([part.flatten() for part in one]).double() for one in parts])

    assert oracle.relative_error(found, gradients(test[0]) @ gradients(train[0]).T) < 1e-5
