"""The tables of a study: tidy CSV files, one observation a row, whole or not there at all."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import pandas as pd
import xarray as xr

from sprachbund.analysis.dynamics import own_share, share_by_checkpoint
from sprachbund.analysis.seeds import over_seeds
from sprachbund.analysis.sharing import language_share
from sprachbund.errors import InfluenceError, StudyError
from sprachbund.influence import Influence, Sign

SIGNS: tuple[Sign, ...] = get_args(Sign)


def write_tables(
    influences: Mapping[int, Influence],
    k: int,
    accuracy: pd.DataFrame | None,
    folder: Path,
    *,
    examples: int = 10,
) -> list[Path]:
    """Write every table that the results allow into `folder`; return the files in reading order.

    `influences` is by seed; with several, means and deviations between seeds are tabled too.
    `accuracy` is written as it is given, `examples` is how many proponents and opponents of each
    test example are listed.

    Raises: InfluenceError if k exceeds the training set; StudyError if the disk refuses.
    """
    if not influences:
        raise InfluenceError("there is no influence result to analyse")
    tables: dict[str, pd.DataFrame] = {}
    for sign in SIGNS:
        shares = {seed: language_share(found, k, sign) for seed, found in influences.items()}
        tables[f"sharing_{sign}"] = _by_seed(shares)
        if len(shares) > 1:
            tables[f"sharing_{sign}_over_seeds"] = _tidy(over_seeds(shares))
    tables["own_language_share"] = own_language_table(influences, k)
    tables["top_examples"] = top_examples_table(influences, examples)
    if accuracy is not None:
        tables["accuracy"] = accuracy
    written = [_write(table, folder / f"{name}.csv") for name, table in tables.items()]
    _remove_stale(folder, written)
    return written


def own_language_table(influences: Mapping[int, Influence], k: int) -> pd.DataFrame:
    """Own-language share by seed, sign, checkpoint and test language, without zero-shot languages.

    Columns: seed, sign, checkpoint, epoch, test_language, share_percent, expected_percent, n_test.
    """
    parts = []
    for seed, influence in influences.items():
        for sign in SIGNS:
            own = own_share(share_by_checkpoint(influence, k, sign))
            part = own.to_dataframe().reset_index().dropna(subset="share_percent")
            part.insert(0, "seed", seed)
            part.insert(1, "sign", sign)
            parts.append(part)
    columns = ["seed", "sign", "checkpoint", "epoch", "test_language"]
    return pd.concat(parts)[[*columns, "share_percent", "expected_percent", "n_test"]]


def top_examples_table(influences: Mapping[int, Influence], k: int) -> pd.DataFrame:
    """The first proponents and opponents of every test example, with their texts.

    At most `k`, or as many as there are training examples. Columns: seed, test, sign, rank, score,
    train, train_index, and test_* and train_* for language, item, group, label, text, text_pair.
    """
    parts = []
    for seed, influence in influences.items():
        dataset = influence.dataset
        train = {
            name: dataset[name].values
            for name in dataset.coords
            if str(name).startswith("train_") and dataset[name].dims == ("train",)
        }
        for sign in SIGNS:
            top = influence.top_k(min(k, dataset.sizes["train"]), sign)
            part = top.to_dataframe().reset_index()
            index = part["train_index"].to_numpy()
            part = part.assign(**{str(name): values[index] for name, values in train.items()})
            part.insert(0, "seed", seed)
            part.insert(1, "sign", sign)
            parts.append(part)
    table = pd.concat(parts)
    first = ["seed", "test", "sign", "rank", "score", "train", "train_index"]
    return table[[*first, *sorted(set(table.columns) - set(first))]]


def _by_seed(shares: Mapping[int, xr.DataArray]) -> pd.DataFrame:
    parts = []
    for seed, share in shares.items():
        part = share.to_dataframe().reset_index()
        part.insert(0, "seed", seed)
        parts.append(part)
    columns = ["seed", "test_language", "train_language", "share_percent", "expected_percent"]
    return pd.concat(parts)[[*columns, "n_test"]]


def _tidy(combined: xr.Dataset) -> pd.DataFrame:
    table = combined.rename(mean="share_percent").to_dataframe().reset_index()
    table["n_seeds"] = combined.attrs["n_seeds"]
    columns = ["test_language", "train_language", "share_percent", "seed_standard_deviation"]
    return table[[*columns, "expected_percent", "n_test", "n_seeds"]]


def _remove_stale(folder: Path, written: Sequence[Path]) -> None:
    """Delete the tables of an earlier analysis that this one has no counterpart of."""
    for name in (*(f"sharing_{sign}_over_seeds" for sign in SIGNS), "accuracy"):
        path = folder / f"{name}.csv"
        if path not in written:
            path.unlink(missing_ok=True)


def _write(table: pd.DataFrame, path: Path) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StudyError(
            f"{path}: cannot be written: {error.strerror or error}; free space or allow writing, "
            "then run again"
        ) from error
    return path
