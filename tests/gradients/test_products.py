"""Products, by whichever library does them, against float64."""

import pytest
import torch
import torch.nn.functional as F

from sprachbund.gradients.products import (
    add_product,
    linear,
    padded_columns,
    product,
    through_linear,
)


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


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("tokens", "columns", "rows"),
    [(3, 8, 5), (2048, 256, 256), (700, 96, 600), (600, 768, 1024), (4, 4096, 4096)],
)
def test_linear_maps_and_their_gradients_by_either_library(tokens, columns, rows, bias):
    generator = torch.Generator().manual_seed(tokens)
    x, g, weight, offset = (
        torch.randn(*shape, generator=generator)
        for shape in ((2, tokens, columns), (2, tokens, rows), (rows, columns), (rows,))
    )
    expected = F.linear(x.double(), weight.double(), offset.double() if bias else None)
    found = linear(x, weight, offset if bias else None).double()
    assert found.shape == expected.shape
    assert float((found - expected).norm() / expected.norm()) < 1e-6
    expected, found = g.double() @ weight.double(), through_linear(g, weight).double()
    assert found.shape == expected.shape
    assert float((found - expected).norm() / expected.norm()) < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_linear_map_keeps_its_type(dtype):
    x, weight = torch.randn(4096, 256).to(dtype), torch.randn(256, 256).to(dtype)
    assert linear(x, weight, None).dtype == through_linear(x, weight).dtype == dtype
    assert torch.equal(linear(x, weight, None), F.linear(x, weight))


def test_a_linear_map_follows_autocast():
    x, weight = torch.randn(4096, 256), torch.randn(256, 256)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, None).dtype == torch.bfloat16


def test_a_linear_map_of_no_tokens():
    weight = torch.randn(256, 256)
    assert linear(torch.zeros(0, 256), weight, None).shape == (0, 256)
    assert through_linear(torch.zeros(0, 256), weight).shape == (0, 256)
