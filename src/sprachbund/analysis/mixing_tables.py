"""Tables of a sweep over mixes: accuracy, what each language adds, pairs, and shares by proportion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import xarray as xr

from sprachbund.analysis import answers
from sprachbund.analysis.answers import Runs
from sprachbund.analysis.captions import caption, guess, seeds_of
from sprachbund.analysis.layouts import COUNTS, ESTIMATE, MEAN, PAIR, STARRED, TESTED_MEAN_2
from sprachbund.analysis.mixes import Sweep
from sprachbund.analysis.mixing import (
    Correct,
    accuracy,
    accuracy_change,
    contributions,
    gains_of_pairs,
    own_shares,
)
from sprachbund.analysis.seeds import quiet_about_signs
from sprachbund.analysis.table import Cell, Layout, Table, spread_of, tidy
from sprachbund.influence import Influence

_OF_MIX = ("mix", "test_language")
_P_AND_Q = ("p_value", "q_value")
_POINTS = "percentage points"
_OWN_SHARE = {
    "share": Cell("mean", "low", "high"),
    "chance": Cell("expected_percent"),
    "lift": Cell("lift", digits=2),
}
_OWN_PART = "the own language's part of the training data"
_COUNT = {"n_train": Cell("n_train", digits=0)}


@dataclass(frozen=True)
class Measured:
    """What was measured of a sweep: correctness by seed, and influence results by mix and seed where asked.

    `labels` are those that the models choose from.
    """

    sweep: Sweep
    correct: Correct
    influences: Mapping[str, Runs]
    k: int
    labels: Sequence[str]


def mixing_tables(measured: Measured) -> list[Table]:
    """Every table that the mixes of a sweep allow, in reading order."""
    tables = [_mixes(measured), *_accuracies(measured)]
    sweep = measured.sweep
    if sweep.without:
        tables.append(_contributions(measured))
    if sweep.pairs and sweep.alone:
        tables.append(_pairs(measured))
    if measured.influences:
        tables += _shares(measured)
    return tables


def _mixes(measured: Measured) -> Table:
    rows = [
        (mix.name, language, count, mix.percent(language))
        for mix in measured.sweep.mixes
        for language, count in mix.counts.items()
    ]
    frame = pd.DataFrame(rows, columns=["mix", "train_language", "n_train", "percent"])
    seeds = seeds_of(measured.correct)
    what = f"Training examples of each mix by language, in each run; {seeds}."
    return Table("mixing_mixes", what, frame, Layout(["mix"], _COUNT, "train_language"))


def _accuracies(measured: Measured) -> list[Table]:
    found, study = accuracy(measured.correct), measured.sweep.study.name
    change = accuracy_change(measured.correct, study)
    columns = [name for name in ESTIMATE if name != "signs_agree"]
    chance = guess(measured.labels, next(iter(measured.correct.values()))["test_label"])
    less = f"less that of the mix {study}, {_POINTS}"
    changes = tidy(change, _OF_MIX, (*ESTIMATE, *_P_AND_Q, *COUNTS))
    by_mix = Layout(["mix"], TESTED_MEAN_2, "test_language")
    tables = [
        Table(
            "mixing_accuracy",
            _caption("Accuracy of each mix by test language, percent", found, measured)
            + f" Chance: {chance}.",
            tidy(found, _OF_MIX, (*columns, *COUNTS)),
            Layout(["mix"], MEAN, "test_language"),
        ),
        Table(
            "mixing_change",
            _caption(f"Accuracy of each mix {less}", change, measured, paired=True),
            changes[changes["mix"] != study].reset_index(drop=True),
            by_mix,
        ),
    ]
    if measured.sweep.factors:
        what = f"Accuracy with so many times the examples of a language, {less}"
        tables.append(
            Table(
                "mixing_factors",
                _caption(what, change, measured, paired=True, of_table=" of mixing_change"),
                _by_factor(measured.sweep, changes),
                Layout(["language", "factor"], TESTED_MEAN_2, "test_language"),
            )
        )
    return tables


def _by_factor(sweep: Sweep, changes: pd.DataFrame) -> pd.DataFrame:
    rows = [
        (language, factor, mix.name, mix.counts[language], mix.percent(language))
        for (language, factor), mix in sweep.factors.items()
    ]
    columns = ["language", "factor", "mix", "n_train", "percent"]
    return pd.DataFrame(rows, columns=columns).merge(changes, on="mix")


def _contributions(measured: Measured) -> Table:
    sweep = measured.sweep
    without = {language: mix.name for language, mix in sweep.without.items()}
    found = contributions(measured.correct, sweep.study.name, without)
    what = f"What each language adds: accuracy with all languages less that without it, {_POINTS}"
    return Table(
        "mixing_contributions",
        _caption(what, found, measured, paired=True),
        tidy(found, ("left_out", "test_language"), (*ESTIMATE, *_P_AND_Q, *COUNTS)),
        Layout(["left_out"], TESTED_MEAN_2, "test_language"),
    )


def _pairs(measured: Measured) -> Table:
    sweep = measured.sweep
    alone = {language: mix.name for language, mix in sweep.alone.items()}
    pairs = {(alone[one], alone[other]): mix.name for (one, other), mix in sweep.pairs.items()}
    found = gains_of_pairs(measured.correct, pairs)
    found = found.assign_coords(pair=["+".join(pair) for pair in sweep.pairs])
    what = f"Accuracy of each two languages together less that of the better one alone, {_POINTS}"
    return Table(
        "mixing_pairs",
        _caption(what, found, measured, paired=True),
        tidy(found, ("pair", "test_language"), ("better", *ESTIMATE, *_P_AND_Q, *COUNTS)),
        Layout(["pair"], TESTED_MEAN_2, "test_language"),
    )


def _shares(measured: Measured) -> list[Table]:
    k, study = measured.k, measured.sweep.study.name
    ks = dict.fromkeys(measured.influences, k)
    depths = _as_deep(measured)
    shares = _shares_at(measured, ks)
    frames = [
        tidy(found, PAIR, (*ESTIMATE, "expected_percent", *COUNTS)).assign(mix=name)
        for name, found in shares.items()
    ]
    frame = pd.concat(frames, ignore_index=True)
    part = 100.0 * k / measured.sweep.study.n_train
    described = partial(caption, runs=measured.influences[study], of=_every(measured))
    tables = [
        Table(
            "mixing_own_share",
            described(
                f"Own-language share of the top {k} proponents by mix, percent",
                found=shares[study],
                chance=_OWN_PART,
            ),
            _own(shares),
            Layout(list(_OF_MIX), _OWN_SHARE),
        ),
        Table(
            "mixing_share",
            described(
                f"Percentage of the top {k} proponents by mix and training language",
                found=shares[study],
                chance="the last row of each mix, the language's part of it",
            ),
            frame[["mix", *frame.columns.drop("mix")]],
            Layout(list(_OF_MIX), MEAN, "train_language", "expected_percent", "mix"),
        ),
    ]
    if len(set(depths.values())) > 1:
        deep = _shares_at(measured, depths)
        own = _own(deep)
        own.insert(1, "k", own["mix"].map(depths))
        tables.append(
            Table(
                "mixing_own_share_as_deep",
                described(
                    f"Own-language share of the first {part:.3g} percent of the training examples by mix, percent",
                    found=deep[study],
                    chance=_OWN_PART,
                ),
                own,
                Layout(list(_OF_MIX), {"k": Cell("k", digits=0), **_OWN_SHARE}),
            )
        )
    return tables


def _as_deep(measured: Measured) -> dict[str, int]:
    """The k of each mix that reaches as deep into its training examples as the study's k into the study's."""
    part = measured.k / measured.sweep.study.n_train
    sizes = {mix.name: mix.n_train for mix in measured.sweep.mixes}
    return {name: max(1, round(part * sizes[name])) for name in measured.influences}


def _shares_at(measured: Measured, ks: Mapping[str, int]) -> dict[str, xr.Dataset]:
    """What `answers.share` finds by mix, each at its k."""
    with quiet_about_signs():  # a column of each mix says it
        return {
            name: answers.share(runs, (ks[name],)).sel(k=ks[name], drop=True)
            for name, runs in measured.influences.items()
        }


def _own(shares: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    own = own_shares(shares)
    frame = tidy(own, _OF_MIX, (*own.data_vars, "n_test"))
    return frame.dropna(subset="mean").reset_index(drop=True)


def _every(measured: Measured) -> list[Influence]:
    return [influence for seeds in measured.influences.values() for influence in seeds.values()]


def _caption(
    what: str, found: xr.Dataset, measured: Measured, *, paired: bool = False, of_table: str = ""
) -> str:
    """What is shown, of how many test examples and seeds, and what the interval is."""
    n_test = found["n_test"].values.ravel().tolist()
    clusters = [int(n) for n in found["n_clusters"].values.ravel()]
    several = ", joined with the deviation between seeds" if len(measured.correct) > 1 else ""
    tested = f" Chance: 0. {STARRED}: p values from the intervals, q over the cells{of_table}."
    chance = tested if paired else ""
    return (
        f"{what}. {sum(n_test):,} test examples, {spread_of(n_test)} a language in {spread_of(clusters)} clusters; "
        f"{seeds_of(measured.correct)}. In brackets: 95 percent "
        f"bootstrap-t intervals{', paired by test example and seed' if paired else ''}, clustered by item and "
        f"group{several}.{chance}"
    )
