"""Made-up influence results: examples, checkpoints, scores, in memory or written to disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from sprachbund.influence import Influence
from sprachbund.store.layout import EXAMPLE_COLUMNS, VARIABLES
from sprachbund.store.writer import InfluenceWriter

LABELS = ("no", "yes")


def examples(split: str, languages: Sequence[str]) -> pd.DataFrame:
    """One example for each entry of `languages`, in that order."""
    return pd.DataFrame(
        {
            "id": [f"{split}-{i}" for i in range(len(languages))],
            "language": list(languages),
            "item": [str(i // 2) for i in range(len(languages))],
            "group": [""] * len(languages),
            "text": [f"{language} τεξτ 文 {i}" for i, language in enumerate(languages)],
            "text_pair": [""] * len(languages),
            "label": [LABELS[i % 2] for i in range(len(languages))],
            "split": [split] * len(languages),
        }
    )


def checkpoints(learning_rates: Sequence[float] = (0.0, 0.3, 0.1)) -> pd.DataFrame:
    """Checkpoints at steps 0, 10, 20, ...: the first is the starting point."""
    n = len(learning_rates)
    return pd.DataFrame(
        {
            "step": [10 * i for i in range(n)],
            "epoch": [float(i) for i in range(n)],
            "learning_rate": list(learning_rates),
        }
    )


def arguments(
    train: Sequence[str], test: Sequence[str], method: str = "tracin", **changes: Any
) -> dict[str, Any]:
    """What `InfluenceWriter.create_or_resume` is to be called with."""
    return {
        "train": examples("train", train),
        "test": examples("test", test),
        "checkpoints": checkpoints(),
        "labels": LABELS,
        "method": method,
        "provenance": {"model": "made up", "seed": 0},
        "shard_size": 4,
        **changes,
    }


def scores(n_checkpoints: int, n_test: int, n_train: int, seed: int = 0) -> np.ndarray:
    """Gaussian scores, [checkpoint, test, train] float32."""
    shape = (n_checkpoints, n_test, n_train)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def write_pending(writer: InfluenceWriter, values: np.ndarray) -> int:
    """Write all that is pending from `values` [checkpoint, test, train]; return how many pieces."""
    n = 0
    n_test = values.shape[1]
    for position in range(len(values)):
        if writer.test_pending(position):
            writer.write_test(
                position,
                gradient_norm=np.arange(n_test) + 1.0,
                loss=np.arange(n_test) + 0.5,
                prediction=[LABELS[i % 2] for i in range(n_test)],
                probability=np.full(n_test, 0.75),
            )
            n += 1
        for shard in writer.pending(position):
            columns = np.arange(shard.start, shard.stop)
            writer.write(
                shard,
                influence=values[position][:, columns],
                train_gradient_norm=columns + 2.0,
                train_loss=columns + 0.25,
            )
            n += 1
    return n


def write(path: Path, values: np.ndarray, given: dict[str, Any]) -> Influence:
    """Write a whole result."""
    with InfluenceWriter.create_or_resume(path, **given) as writer:
        write_pending(writer, values)
        return writer.finish()


def in_memory(
    values: np.ndarray,
    train: Sequence[str],
    test: Sequence[str],
    *,
    method: str = "tracin-cosine",
    learning_rates: Sequence[float] = (0.0, 0.3, 0.1),
    **changes: Any,
) -> Influence:
    """A result that was never stored, of scores [checkpoint, test, train].

    `changes` replace coordinates of the examples (`train_item`, `test_group`, ...) or add variables
    (`test_loss`, `test_prediction`, ...).
    """
    steps = checkpoints(learning_rates)
    coords: dict[str, Any] = {
        "checkpoint": steps["step"].to_numpy(),
        "epoch": ("checkpoint", steps["epoch"].to_numpy()),
        "learning_rate": ("checkpoint", steps["learning_rate"].to_numpy()),
    }
    for split, languages in (("train", train), ("test", test)):
        frame = examples(split, languages)
        coords[split] = frame["id"].to_numpy(dtype=object)
        for column in EXAMPLE_COLUMNS:
            name = f"{split}_{column}"
            given = np.array(changes.pop(name, frame[column]), dtype=object)
            coords[name] = (split, given)
    variables = {name: (VARIABLES[name][0], given) for name, given in changes.items()}
    return Influence(
        xr.Dataset(
            {"influence": (("checkpoint", "test", "train"), values), **variables},
            coords=coords,
            attrs={"method": method, "labels": list(LABELS)},
        )
    )
