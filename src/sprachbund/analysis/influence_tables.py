"""Tables of whose examples are relied on, and of how that changes in the course of training."""

from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from sprachbund.analysis import answers, courses
from sprachbund.analysis.answers import Runs
from sprachbund.analysis.captions import caption, guess
from sprachbund.analysis.labels import ALL
from sprachbund.analysis.layouts import (
    COUNTS,
    ESTIMATE,
    MEAN,
    MEAN_2,
    PAIR,
    STARRED,
    TESTED_MEAN,
    named_ks,
    usual_ks,
)
from sprachbund.analysis.listings import SIGNS
from sprachbund.analysis.measures import mass_share, top_shares
from sprachbund.analysis.statistics import PERCENT
from sprachbund.analysis.table import Cell, Layout, Table, spread_of, tidy
from sprachbund.errors import InfluenceError
from sprachbund.influence import Sign

_P_AND_Q = ("p_value", "q_value")
_TESTED = ("null_mean", *_P_AND_Q)
_LIFT = ("lift", "lift_low", "lift_high")
_DIFFERENCE = ("difference", "difference_low", "difference_high")
_MEAN_INFLUENCE = (*ESTIMATE, "expected", *_DIFFERENCE)
_OVERALL = "the mean over all training examples"
_FROM_INTERVALS = (
    f"{STARRED}: p and q values from these intervals, over the languages and over all by itself"
)
_HOW_TESTED = (
    f"{STARRED}, p and q values by exchanging the languages of training examples: they are of these runs and test "
    "examples, where intervals are for others"
)


def shares_tables(runs: Runs, k: int, sign: Sign) -> list[Table]:
    ks = usual_ks(runs, k)
    found = answers.share(runs, ks, sign)
    lifts = answers.lift_of(found)
    tested = answers.share_test(runs, k, sign)
    joined = _with_lift(found)
    columns = (*ESTIMATE, "expected_percent", *_LIFT, *COUNTS)
    one_k = _with_test(joined.sel(k=k, drop=True), tested, _TESTED)
    chance = f"the last row; {_HOW_TESTED}"
    by_k = Layout(["k", "test_language"], MEAN, "train_language", "expected_percent")
    return [
        Table(
            f"share_{sign}",
            caption(f"Percentage of the top {k} {sign} by training language", one_k, runs, chance),
            tidy(one_k, PAIR, (*columns, *_TESTED)),
            Layout(["test_language"], TESTED_MEAN, "train_language", "expected_percent"),
        ),
        Table(
            f"lift_{sign}",
            caption(f"Lift of each training language in the top {k} {sign}", one_k, runs, "1"),
            tidy(lifts.sel(k=k, drop=True), PAIR, (*ESTIMATE, *COUNTS)),
            Layout(["test_language"], MEAN_2, "train_language"),
        ),
        Table(
            f"share_{sign}_by_k",
            caption(
                f"Percentage of the top k {sign}, {named_ks(runs, k)}", joined, runs, "the last row"
            ),
            tidy(joined, ("k", *PAIR), columns),
            by_k,
        ),
    ]


def mass_tables(runs: Runs, sign: Sign) -> list[Table]:
    shares = _with_lift(answers.mass(runs, sign))
    found = _with_test(shares, answers.mass_test(runs, sign), _TESTED)
    what = f"Percentage of the influence of all {sign} that each training language holds"
    return [
        Table(
            f"mass_{sign}",
            caption(what, found, runs, f"the last row; {_HOW_TESTED}"),
            tidy(found, PAIR, (*ESTIMATE, "expected_percent", *_LIFT, *COUNTS, *_TESTED)),
            Layout(["test_language"], TESTED_MEAN, "train_language", "expected_percent"),
        )
    ]


def mean_influence_tables(runs: Runs) -> list[Table]:
    found = _with_test(answers.mean_score(runs), answers.mean_score_test(runs), _P_AND_Q)
    what = f"{_mean_influence(runs, 'total')} of a training example by language, and how far it is from chance"
    columns = (*_MEAN_INFLUENCE, "n_train", *COUNTS, *_P_AND_Q)
    return [
        Table(
            "mean_influence",
            caption(what, found, runs, f"{_OVERALL}; {_HOW_TESTED}"),
            tidy(found, PAIR, columns),
            Layout(PAIR, _mean_influence_cells(found, "q_value")),
        )
    ]


def mean_influence_by_checkpoint_tables(runs: Runs) -> list[Table]:
    found = courses.mean_score_by_checkpoint(runs)
    first = ("scores", "checkpoint", *PAIR)
    what = f"{_mean_influence(runs, 'of each checkpoint alone, of the running sum')} of a training example by language"
    frame = tidy(found, first, ("epoch", *_MEAN_INFLUENCE, "n_train", *COUNTS))
    return [
        Table(
            "mean_influence_by_checkpoint",
            caption(what, found, runs, _OVERALL),
            frame.dropna(subset="mean"),
            Layout(list(first), _mean_influence_cells(found)),
        )
    ]


def _mean_influence(runs: Runs, of: str) -> str:
    return f"Mean influence ({next(iter(runs.values())).method}, {of})"


def _mean_influence_cells(found: xr.Dataset, q_value: str = "") -> dict[str, Cell]:
    """How it is printed: to two digits of the largest."""
    size = float(np.nanmax(np.abs(found["mean"].values)))
    digits = 3 if size == 0 else max(1, 2 - int(np.floor(np.log10(size))))
    return {
        "mean": Cell("mean", "low", "high", digits),
        "chance": Cell("expected", digits=digits),
        "difference": Cell(*_DIFFERENCE, digits, q_value),
    }


def _with_lift(shares: xr.Dataset) -> xr.Dataset:
    lifts = answers.lift_of(shares)
    return shares.assign(
        {name: lifts[of] for name, of in zip(_LIFT, ("mean", "low", "high"), strict=True)}
    )


def _with_test(found: xr.Dataset, tested: xr.Dataset, names: tuple[str, ...]) -> xr.Dataset:
    """What was found, with these variables of its permutation test, which has the same cells."""
    return found.assign({name: tested[name].variable for name in names})


def dynamics_tables(runs: Runs, k: int) -> list[Table]:
    found = courses.dynamics(runs, k)
    if bool(found["mean"].isnull().all()):
        raise InfluenceError("no test language is trained on, so none has an own-language share")
    first = ("scores", "relation", "checkpoint", "test_language")
    frame = tidy(found, first, ("epoch", *ESTIMATE, "expected_percent", *COUNTS)).dropna(
        subset="mean"
    )
    chance = ", ".join(
        f"{relation} {spread_of(part['expected_percent'].tolist(), 1)} percent"
        for relation, part in frame.groupby("relation", sort=False)
    )
    what = f"Own-language and cross-language share of the top {k} proponents by checkpoint, percent"
    return [
        Table(
            "dynamics",
            caption(what, found, runs, chance),
            frame,
            Layout(["scores", "relation", "checkpoint"], MEAN, "test_language"),
        )
    ]


def own_share_change_tables(runs: Runs, k: int) -> list[Table]:
    found = courses.own_share_change(runs, usual_ks(runs, k))
    first = ("k", "since", "test_language")
    what = (
        f"Own-language share of the top k proponents ({named_ks(runs, k)}) at the last checkpoint less that at an "
        "earlier one (since), each taken alone, percentage points; below 0, reliance on other languages has risen"
    )
    by_language = found.sel(test_language=found["test_language"] != ALL)
    return [
        Table(
            "own_share_change",
            caption(what, by_language, runs, f"0; {_FROM_INTERVALS}"),
            tidy(found, first, ("epoch", *ESTIMATE, *_P_AND_Q, *COUNTS)),
            Layout(["k", "since"], TESTED_MEAN, "test_language"),
        )
    ]


def checkpoints_tables(runs: Runs, k: int) -> list[Table]:
    """Every share of the tables above by checkpoint: of the top k for several k, and of the mass."""
    ks, frames, found = usual_ks(runs, k), [], xr.Dataset()
    for sign in SIGNS:
        found = courses.by_checkpoint(runs, partial(top_shares, ks=ks, sign=sign), PERCENT)
        frames += [
            _by_checkpoint(found.sel(k=one, drop=True), f"share of the top {one}", sign)
            for one in ks
        ]
        mass = courses.by_checkpoint(runs, partial(mass_share, sign=sign), PERCENT)
        frames.append(_by_checkpoint(mass, "share of the mass", sign))
    frame = pd.concat(frames, ignore_index=True).dropna(subset="mean")
    what = (
        f"Shares of the top k ({named_ks(runs, k)}) and of the mass by training language, percent, by checkpoint: of "
        "each alone, of the running sum"
    )
    rows = ["measure", "sign", "scores", "checkpoint", "test_language"]
    return [
        Table(
            "shares_by_checkpoint",
            caption(what, found, runs, "the last row"),
            frame,
            Layout(rows, MEAN_2, "train_language", "expected_percent"),
        )
    ]


def _by_checkpoint(found: xr.Dataset, measure: str, sign: str) -> pd.DataFrame:
    first = ("scores", "checkpoint", *PAIR)
    frame = tidy(found, first, ("epoch", *ESTIMATE, "expected_percent", *COUNTS))
    frame.insert(0, "measure", measure)
    frame.insert(1, "sign", sign)
    lifts = {
        f"lift{end}": frame[name] / frame["expected_percent"]
        for end, name in (("", "mean"), ("_low", "low"), ("_high", "high"))
    }
    return frame.assign(**lifts)


def learning_tables(runs: Runs) -> list[Table]:
    found = courses.learning(runs)
    columns = ("epoch", "mean", "low", "high", "seed_standard_deviation", *COUNTS)
    what = "Accuracy (percent) and loss (nats) on the attributed test examples by checkpoint"
    first = next(iter(runs.values()))
    return [
        Table(
            "learning_curves",
            caption(what, found, runs, guess(first.labels, first.dataset["test_label"])),
            tidy(found, ("measure", "checkpoint", "test_language"), columns),
            Layout(["measure", "checkpoint"], MEAN_2, "test_language"),
        )
    ]
