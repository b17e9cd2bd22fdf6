"""What the run of a mix need not make again: the model before training, and its accuracy.

The starting point depends on the seed and the labels, which all mixes of a study share.
"""

import contextlib
import os
import shutil
from pathlib import Path

import pandas as pd

from sprachbund.accuracy import ACCURACY
from sprachbund.runs.run_folder import STARTING_POINT


def share_start(source: Path, target: Path) -> None:
    """Give the run in `target` the starting point of the run in `source`, as hard links, unless it has one.

    Where the file system has no hard links nothing is shared, and fine-tuning makes its own.
    """
    target.mkdir(parents=True, exist_ok=True)
    start, partial = target / STARTING_POINT, target / f"{STARTING_POINT}.partial"
    if not start.exists():
        shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):
            shutil.copytree(source / STARTING_POINT, partial, copy_function=os.link)
            partial.rename(start)
    if not (target / ACCURACY).exists():
        _share_accuracy(source / ACCURACY, target / ACCURACY)


def _share_accuracy(source: Path, target: Path) -> None:
    """Copy the rows of the starting point, and the note of what they were measured on."""
    table = pd.read_csv(source, dtype=str, keep_default_na=False)
    # The note first: without a table it is ignored, a table without its note is a damaged one.
    shutil.copyfile(source.with_suffix(".json"), target.with_suffix(".json"))
    partial = target.with_suffix(".partial")
    table[table["checkpoint"] == "0"].to_csv(partial, index=False)
    partial.replace(target)
