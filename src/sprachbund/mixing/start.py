"""What the run of a mix need not make again: the model before training.

The starting point depends on the seed and the labels, which all mixes of a study share.
"""

import contextlib
import os
import shutil
from pathlib import Path

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
