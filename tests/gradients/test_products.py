"""The product with a bank, by whichever library does it, against float64."""

import pytest
import torch

from sprachbund.gradients.products import add_product, padded_columns, product


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
