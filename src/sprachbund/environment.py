"""Versions and machine, written beside every result so that it can be replayed."""

import platform

import torch
import transformers

import sprachbund


def environment() -> dict[str, str]:
    """What the numbers may depend on besides the study file."""
    return {
        "sprachbund": sprachbund.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def environment_text() -> str:
    """The same, one line each."""
    return "".join(f"{name}: {value}\n" for name, value in environment().items())
