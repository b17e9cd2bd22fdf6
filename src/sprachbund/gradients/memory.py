"""How much memory the bank of test gradients takes, and how many test examples fit at once."""

import re

import psutil
from torch import nn

from sprachbund.errors import ConfigurationError

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


def default_nbytes() -> int:
    """Half of the machine's memory. Not of what is free: a resumed run must choose as it did before."""
    return int(psutil.virtual_memory().total) // 2


def bank_nbytes_per_example(model: nn.Module, tokens: int) -> int:
    """Bytes of float32 that the bank takes for each test example of this many tokens, at most.

    Each weight's gradient written out, each linear layer's token factors, and an embedding's touched rows.
    """
    total = 0
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if isinstance(module, nn.Embedding):
                total += tokens * parameter.shape[1]
            elif parameter.dim() == 2:
                total += parameter.numel() + tokens * sum(parameter.shape)
            else:
                total += parameter.numel()
    return 4 * total


def examples_at_once(model: nn.Module, tokens: int, examples: int, nbytes: int) -> int:
    """How many test examples' gradients fit into `nbytes` at once, at most `examples`.

    Raises: ConfigurationError if not even one does.
    """
    each = bank_nbytes_per_example(model, tokens)
    if each > nbytes:
        raise ConfigurationError(
            f"attribution.memory is {nbytes / 2**20:,.0f} MiB, but the gradients of one test example take "
            f"{each / 2**20:,.0f} MiB: raise it, or attribute fewer parameters"
        )
    return min(examples, nbytes // each)
