"""How much memory the bank of test gradients takes, and how much there is."""

import re
from collections.abc import Mapping
from typing import Literal

import psutil
import torch

from sprachbund.errors import ConfigurationError
from sprachbund.gradients.forms import Form, cheaper_form, numbers_per_example
from sprachbund.gradients.parameters import Selection
from sprachbund.gradients.products import padded_columns

BankDtype = Literal["float32", "bfloat16"]

_UNITS = {"": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)


def parse_nbytes(text: str) -> int:
    """Bytes of a size such as "16GiB", "800 MB" or "1000000".

    Raises: ConfigurationError for anything else.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigurationError(f'memory "{text}" is not a size such as "16GiB" or "800MB"')
    unit = match[2].upper()
    power = _UNITS[unit] if unit else 0
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def share_of_machine_nbytes() -> int:
    """Five eighths of the GPU's memory, or half of the machine's without one.

    Not of what is free: a resumed run must cut the bank as it did before. A GPU holds nothing else.
    """
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory) * 5 // 8
    return int(psutil.virtual_memory().total) // 2


def free_nbytes(device: torch.device) -> int:
    """Three quarters of what is free on the device: the rest is for the passes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = psutil.virtual_memory().available
    return int(free) * 3 // 4


def bank_dtype_named(name: BankDtype) -> torch.dtype | None:
    """The type of written-out test gradients; None is the model's own."""
    return torch.bfloat16 if name == "bfloat16" else None


def bank_nbytes(
    selection: Selection,
    tokens: int,
    size: int,
    bank_dtype: BankDtype,
    calls: Mapping[str, int] | None = None,
) -> int:
    """Bytes that the bank takes for `size` test examples of this many tokens, at most.

    `calls` (`GradientEngine.calls`): how many calls of its modules each parameter is in, by default one.

    Each matrix's gradients in the form that is cheaper to score, an embedding's touched rows, and of one tied to a head
    the head's token factors. A matrix that turns out to need autograd one example at a time takes more.
    """
    return sum(
        parameter_nbytes(selection, name, tokens, size, bank_dtype, calls)
        for name in selection.parameters
    )


def parameter_nbytes(
    selection: Selection,
    name: str,
    tokens: int,
    size: int,
    bank_dtype: BankDtype,
    calls: Mapping[str, int] | None = None,
) -> int:
    """What `bank_nbytes` says of all parameters, of one of them."""
    parameter = selection.parameters[name]
    itemsize = parameter.element_size()
    merged = tokens * (calls or {}).get(name, 1)
    if name in selection.tables:
        rows, width = parameter.shape
        of_token = width + (rows + width if name in selection.tied else 0)
        return size * merged * of_token * itemsize
    if parameter.dim() != 2:
        return size * parameter.numel() * itemsize
    shape = parameter.shape[0], parameter.shape[1]
    form = cheaper_form(shape, merged, size)
    is_written_out = form is Form.WRITTEN_OUT
    kept = 2 if bank_dtype == "bfloat16" and is_written_out else itemsize
    examples = padded_columns(size) if is_written_out else size
    return examples * numbers_per_example(shape, merged, form) * kept


def readable(nbytes: int) -> str:
    """For people: "5,920 MiB"."""
    return f"{nbytes / 2**20:,.0f} MiB" if nbytes >= 2**20 else f"{nbytes / 2**10:,.0f} KiB"
