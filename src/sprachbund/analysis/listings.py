"""The tables of single runs: shares by seed, the own-language share, and the examples in full."""

from collections.abc import Mapping
from typing import get_args

import pandas as pd
import xarray as xr

from sprachbund.analysis.captions import guess, seeds_of
from sprachbund.analysis.dynamics import own_share, share_by_checkpoint
from sprachbund.analysis.seeds import over_seeds
from sprachbund.analysis.sharing import language_share
from sprachbund.analysis.table import Cell, Layout, Table, spread_of, tidy
from sprachbund.analysis.wilson import with_wilson_limits
from sprachbund.influence import Influence, Sign

SIGNS: tuple[Sign, ...] = get_args(Sign)
_PAIR = ("test_language", "train_language")
_SHARE = {"share": Cell("share_percent")}


def listings(
    influences: Mapping[int, Influence], k: int, accuracy: pd.DataFrame | None, examples: int
) -> list[Table]:
    """The tables that there always are, in reading order.

    Raises: InfluenceError if k exceeds the training set.
    """
    tables: list[Table] = []
    tests = _counted(influences)
    for sign in SIGNS:
        tables += _sharing(influences, k, sign)
    tables.append(
        Table(
            "own_language_share",
            f"Percentage of the top {k} of each checkpoint alone that is in the test example's own "
            f"language, by seed and sign; the last row is chance. {tests} Intervals: table dynamics.",
            own_language_table(influences, k),
            Layout(["seed", "sign", "checkpoint"], _SHARE, "test_language", "expected_percent"),
        )
    )
    tables.append(
        Table(
            "top_examples",
            f"The first {examples} proponents and opponents of each test example, in full. {tests}",
            top_examples_table(influences, examples),
        )
    )
    if accuracy is not None:
        shown = {"accuracy": Cell("accuracy", "low", "high", digits=3)}
        labels = next(iter(influences.values())).labels
        caption = (
            "Accuracy by seed, checkpoint and language, as fine-tuning measured it on the examples for evaluation "
            f"({spread_of(accuracy['n'].tolist())} a language); {seeds_of(influences)}. In brackets: 95 percent "
            "Wilson intervals, for other examples of the same run, as if each was drawn by itself. "
            f"Chance: {guess(labels)}."
        )
        layout = Layout(["seed", "checkpoint"], shown, "language")
        tables.append(Table("accuracy", caption, with_wilson_limits(accuracy), layout))
    return tables


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


def _sharing(influences: Mapping[int, Influence], k: int, sign: Sign) -> list[Table]:
    shares = {seed: language_share(found, k, sign) for seed, found in influences.items()}
    what = f"Percentage of each test example's top {k} {sign} by training language"
    about = f"{_counted(influences)} Intervals: table share_{sign}."
    tables = [
        Table(
            f"sharing_{sign}",
            f"{what}, by seed, averaged over the test examples of a language; the last row is "
            f"chance. {about}",
            _by_seed(shares),
            Layout(["seed", "test_language"], _SHARE, "train_language", "expected_percent"),
        )
    ]
    if len(shares) > 1:
        layout = Layout(["test_language"], _SHARE, "train_language", "expected_percent")
        caption = f"{what}, mean over seeds; the last row is chance. {about}"
        name = f"sharing_{sign}_over_seeds"
        tables.append(Table(name, caption, _over_seeds(over_seeds(shares)), layout))
    return tables


def _counted(influences: Mapping[int, Influence]) -> str:
    n_test = next(iter(influences.values())).dataset.sizes["test"]
    return f"{n_test:,} test examples; {seeds_of(influences)}."


def _by_seed(shares: Mapping[int, xr.DataArray]) -> pd.DataFrame:
    parts = []
    for seed, share in shares.items():
        part = share.to_dataframe().reset_index()
        part.insert(0, "seed", seed)
        parts.append(part)
    columns = ["seed", *_PAIR, "share_percent", "expected_percent"]
    return pd.concat(parts)[[*columns, "n_test"]]


def _over_seeds(combined: xr.Dataset) -> pd.DataFrame:
    found = combined.rename(mean="share_percent")
    columns = ("share_percent", "seed_standard_deviation", "expected_percent", "n_test")
    return tidy(found, _PAIR, columns).assign(n_seeds=combined.attrs["n_seeds"])
