"""Products that oneDNN does faster than MKL, the BLAS behind torch's own operators: skinny ones, and linear maps.

Which is faster depends on who made the processor, and was measured on one thread of an AMD EPYC and of an Intel Xeon
(docs/performance.md); the numbers are the same to rounding.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sprachbund.gradients.allocator import mapped_apart

# On AMD, for 32 rows of 65,536 or 122,880 and up to 32 columns, a bank's, oneDNN does 46 to 70 GFLOP/s where MKL does 6
# to 38; from 64 columns on they are equal. Both gain a quarter by full vectors (128 columns against 125). For 200,000
# rows of 512, an index, and 4 to 16 columns, oneDNN takes half the time. On Intel MKL takes 0.9 to 1.0 of oneDNN's.
_VECTOR = 8
_MOST_COLUMNS_FOR_ONEDNN = 64
# A linear map of 2,048 tokens and more takes oneDNN 0.75 to 0.98 of the time: torch writes the bias out for every token
# first. For fewer they are equal. With the transposed weight, read in place, oneDNN is faster only while it fits a
# core's cache. On Intel it is faster (0.93 to 0.97) for such weights, not transposed; 768 x 3072 takes it 1.11.
# It keeps megabytes for every number of tokens that it has met, so that it gets round numbers alone.
_TOKENS_FOR_ONEDNN = 1024
_IN_CACHE = 2**18
_SINGLE = torch.float32
_set_up: set[tuple[object, ...]] = set()
"""The kinds of products that oneDNN has met."""


@cache
def is_on_intel() -> bool:
    """Whether Intel made this processor; for all others what is best on AMD is taken."""
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch
        return False
    return "Intel" in torch.cpu.get_capabilities().get("cpu_name", "")


def padded_columns(size: int) -> int:
    """How many columns to lay out for so many: whole vectors, but for a single one."""
    return size if size == 1 else -(-size // _VECTOR) * _VECTOR


def product(rows_BK: Tensor, columns_KM: Tensor) -> Tensor:
    """rows @ columns."""
    suits = _are_few_columns(rows_BK, columns_KM)
    return _by_onednn(rows_BK, columns_KM.T) if suits else rows_BK @ columns_KM


def add_product(target_BM: Tensor, rows_BK: Tensor, columns_KM: Tensor) -> None:
    """Add rows @ columns to the target, in place."""
    if _are_few_columns(rows_BK, columns_KM):
        target_BM += _by_onednn(rows_BK, columns_KM.T)
    else:
        target_BM.addmm_(rows_BK, columns_KM)


def linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """x W^T + b over the last axis, without gradient."""
    suits = weight_OI.numel() <= _IN_CACHE or not is_on_intel()
    if suits and _are_round_tokens(x, weight_OI) and (bias_O is None or _is_plain(bias_O)):
        return _by_onednn(x, weight_OI, bias_O)
    return F.linear(x, weight_OI, bias_O)


def through_linear(g: Tensor, weight_OI: Tensor) -> Tensor:
    """g W over the last axis: the gradient of a linear map's input, from its output's."""
    suits = weight_OI.numel() <= _IN_CACHE and not is_on_intel()
    if suits and _are_round_tokens(g, weight_OI):
        return _by_onednn(g, weight_OI.T)
    return g @ weight_OI


def _by_onednn(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    kind = (rows.shape[:-1].numel(), weight.shape, weight.stride(), bias is None)
    if kind in _set_up:
        return _multiplied(rows, weight, bias)
    _set_up.add(kind)
    with mapped_apart():  # half a megabyte stays, which would lie amid the memory of a pass
        return _multiplied(rows, weight, bias)


def _multiplied(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # The operator that compiled models call: nothing public reaches oneDNN's product for float32.
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return found


def _are_few_columns(rows_BK: Tensor, columns_KM: Tensor) -> bool:
    is_few = 1 < columns_KM.shape[1] <= _MOST_COLUMNS_FOR_ONEDNN
    return is_few and not is_on_intel() and _suit_onednn(rows_BK, columns_KM)


def _are_round_tokens(rows: Tensor, weight: Tensor) -> bool:
    tokens = rows.shape[:-1].numel()
    return tokens > 0 and tokens % _TOKENS_FOR_ONEDNN == 0 and _suit_onednn(rows, weight)


def _suit_onednn(rows: Tensor, weight: Tensor) -> bool:
    return (
        _is_single_here(rows)
        and _is_single_here(weight)
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and bool(torch.backends.mkldnn.enabled)
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _is_plain(bias: Tensor) -> bool:
    """oneDNN reads a bias without its strides."""
    return bias.dim() == 1 and bias.is_contiguous() and _is_single_here(bias)


def _is_single_here(value: Tensor) -> bool:
    """Whether these are float32 numbers in ordinary memory: not sparse, not quantised, no subclass."""
    return (
        value.dtype == _SINGLE
        and value.device.type == "cpu"
        and value.layout == torch.strided
        and type(value) in (Tensor, nn.Parameter)
    )
