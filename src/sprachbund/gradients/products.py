"""Products with few columns, of a bank or of queries: a shape that BLAS does at half of its speed."""

import torch
from torch import Tensor

# Measured on one thread: for 32 rows of 65,536 or 122,880 and up to 32 columns, oneDNN does 46 to 70 GFLOP/s where MKL
# does 6 to 38; from 64 columns on they are equal. Both gain a quarter by full vectors (128 columns against 125). For
# 200,000 rows of 512, an index, and 4 to 16 columns, oneDNN takes half the time.
_VECTOR = 8
_MOST_COLUMNS_FOR_ONEDNN = 64
_SINGLE = torch.float32


def padded_columns(size: int) -> int:
    """How many columns to lay out for so many: whole vectors, but for a single one."""
    return size if size == 1 else -(-size // _VECTOR) * _VECTOR


def product(rows_BK: Tensor, columns_KM: Tensor) -> Tensor:
    """rows @ columns."""
    suits = _is_for_onednn(rows_BK, columns_KM)
    return _by_onednn(rows_BK, columns_KM) if suits else rows_BK @ columns_KM


def add_product(target_BM: Tensor, rows_BK: Tensor, columns_KM: Tensor) -> None:
    """Add rows @ columns to the target, in place."""
    if _is_for_onednn(rows_BK, columns_KM):
        target_BM += _by_onednn(rows_BK, columns_KM)
    else:
        target_BM.addmm_(rows_BK, columns_KM)


def _by_onednn(rows_BK: Tensor, columns_KM: Tensor) -> Tensor:
    # The operator that compiled models call: nothing public reaches oneDNN's product for float32.
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows_BK, columns_KM.T, None, "none", [], "")
    return found


def _is_for_onednn(rows_BK: Tensor, columns_KM: Tensor) -> bool:
    return (
        1 < columns_KM.shape[1] <= _MOST_COLUMNS_FOR_ONEDNN
        and rows_BK.dtype == columns_KM.dtype == _SINGLE
        and rows_BK.device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
