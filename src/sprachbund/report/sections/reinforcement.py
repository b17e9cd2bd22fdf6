"""Do other languages repeat what the own language says, or add to it; are translations found?"""

import math

import pandas as pd

from sprachbund.report import pooled
from sprachbund.report.formatting import percent, points, portion
from sprachbund.report.heat_maps import Pairs, heat_map
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import PAIR, Numbers
from sprachbund.report.rows import estimate_of, highest
from sprachbund.report.section import Figure, Folded, Heading, Reading, Section
from sprachbund.report.tables import Table, Write, estimated, matrix
from sprachbund.report.verdicts import against_chance

_ID, _TOPIC = "reinforcement", "Reinforcing or complementary"
_HEADING = "Do other languages repeat the own language, or add to it?"
_IN_LABEL = "rank_in_label_percent"
_BY_CHANCE = 50.0  # percent, the mean rank of what is not looked for


def reinforcement(numbers: Numbers) -> Section:
    """Reinforcing proponents against chance by language pair, and how well translations are found."""
    frame = numbers.table("reinforcement")
    if frame is None:
        return Section(_ID, _TOPIC, _HEADING, [numbers.why_not("reinforcement")])
    at_k = _at_k(numbers, frame)
    marked = at_k["marked"]
    pairs = Pairs(at_k, numbers.train_languages, "Reinforcing")
    chart = heat_map(
        pairs,
        "Heat map: percentage of the proponents from each training language that are reinforcing, by "
        "test language. The table below has the same numbers.",
    )
    return Section(
        _ID,
        _TOPIC,
        _HEADING,
        findings=[_finding(numbers), _pairs_that_differ(at_k, marked)],
        parts=[
            Figure("reinforcement", chart),
            Folded(_tables(numbers, at_k)),
            Reading(
                "A proponent from another language is reinforcing if its translation is itself among the "
                f"test example’s top {numbers.data.k:,} proponents from its own language, and complementary "
                "if not. Chance is what as many examples drawn from that language would give; as translations "
                "share their label, influence that goes by the label alone would give what the chance with the same "
                "labels says. The "
                "colour is the distance from the first; a dot marks the pairs whose interval of the difference "
                "does not contain 0 (not corrected for their number)."
                + (
                    " Zero-shot languages have no own-language proponents."
                    * bool(numbers.zero_shot)
                )
            ),
            *_retrieval(numbers),
        ],
    )


def _at_k(numbers: Numbers, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the study's own k, named as cells of a heat map are."""
    at_k = frame[frame["k"] == numbers.data.k].rename(
        columns={
            "reinforcing_percent": "mean",
            "reinforcing_percent_low": "low",
            "reinforcing_percent_high": "high",
            "expected_percent": "chance",
        }
    )
    marked = (at_k["excess_percent_low"] > 0) | (at_k["excess_percent_high"] < 0)
    return at_k.assign(marked=marked)


def _finding(numbers: Numbers) -> str:
    found = pooled.reinforcing(numbers.data.influences, numbers.data.k)
    if math.isnan(found["reinforcing_percent"]):
        return "No test example has a proponent from another language with a translation."
    rate, excess = (
        estimate_of(found, unit=unit, name=name)
        for name, unit in (("reinforcing_percent", "%"), ("excess_percent", " points"))
    )
    verdict = against_chance(found["excess_percent_low"], found["excess_percent_high"], 0.0)
    name = "excess_given_labels_percent"
    given = estimate_of(found, unit=" points", name=name)
    given_verdict = against_chance(found[f"{name}_low"], found[f"{name}_high"], 0.0)
    return (
        f"{rate} of the proponents from other languages are reinforcing: translations of a proponent "
        f"from the test example’s own language. Drawn at random {percent(found['expected_percent'])} "
        f"would be; the difference is {excess}: {verdict}. Drawn at random with the same labels, "
        f"{percent(found['expected_given_labels_percent'])} would be; the difference is {given}: {given_verdict}. "
        f"The other {percent(100 - found['reinforcing_percent'])} are complementary; of as many with the same labels "
        f"{percent(100 - found['expected_given_labels_percent'])} would be."
    )


def _pairs_that_differ(at_k: pd.DataFrame, marked: "pd.Series[bool]") -> str:
    known, name = at_k["mean"].notna(), "excess_given_labels_percent"
    given = int(((at_k[f"{name}_low"] > 0) | (at_k[f"{name}_high"] < 0)).sum())
    text = (
        "The interval of the difference excludes chance in "
        f"{portion(int(marked.sum()), int(known.sum()), 'language pair')}, that of the difference from chance "
        f"with the same labels in {portion(given, int(known.sum()), 'language pair')}."
    )
    if known.any():
        most = highest(at_k, at_k["excess_percent"])
        text += (
            f" It is largest in what {language_label(most['test_language'])} takes from "
            f"{language_label(most['train_language'])}: {points(most['excess_percent'])} points."
        )
    return text


def _tables(numbers: Numbers, at_k: pd.DataFrame) -> list[Table]:
    return [
        _by_pair(numbers, at_k, caption, write)
        for caption, write in (
            ("Reinforcing proponents, percent of those from the training language", estimated()),
            ("Chance: as many drawn at random, percent", lambda row: percent(row["chance"])),
            ("Difference, percentage points", estimated(unit="", name="excess_percent")),
            (
                "Chance with the same labels, percent",
                lambda row: percent(row["expected_given_labels_percent"]),
            ),
            (
                "Difference from it, percentage points",
                estimated(unit="", name="excess_given_labels_percent"),
            ),
        )
    ]


def _retrieval(numbers: Numbers) -> list[Heading | Folded]:
    frame = numbers.table("translation_retrieval")
    if frame is None:
        return []
    name = "rank_percent"
    found = int((frame[f"{name}_high"] < _BY_CHANCE).sum())
    ranks, in_label = frame[name], frame[_IN_LABEL]
    found_in_label = int((frame[f"{_IN_LABEL}_high"] < _BY_CHANCE).sum())
    first = frame["found_percent"]
    text = (
        "The translations of own-language proponents stand on average at "
        f"{percent(float(ranks.mean()))} of the ranking of their language (between "
        f"{percent(float(ranks.min()))} and {percent(float(ranks.max()))} by pair; chance "
        f"{percent(_BY_CHANCE, 0)}, 0% is the very top); the interval lies below chance in "
        f"{portion(found, len(frame), 'language pair')}. Among the examples with their own label they stand at "
        f"{percent(float(in_label.mean()))}, and the interval lies below chance in "
        f"{portion(found_in_label, len(frame), 'language pair')}. {percent(float(first.mean()))} of them are among the "
        f"first 10 of their language (chance {percent(float(frame['found_chance_percent'].mean()))})."
    )
    tables = [
        _by_pair(
            numbers,
            frame,
            f"Rank of the translations, percent; {_BY_CHANCE:.0f} is chance",
            estimated(name=name),
        ),
        _by_pair(
            numbers,
            frame,
            f"Their rank among the examples with their label, percent; {_BY_CHANCE:.0f} is chance",
            estimated(name=_IN_LABEL),
        ),
        _by_pair(
            numbers,
            frame,
            "Translations among the first 10, percent",
            estimated(name="found_percent"),
        ),
        _by_pair(
            numbers,
            frame,
            "Chance: among 10 drawn at random, percent",
            lambda row: percent(row["found_chance_percent"]),
        ),
    ]
    return [Heading("Are translations found?", text), Folded(tables)]


def _by_pair(numbers: Numbers, frame: pd.DataFrame, caption: str, write: Write) -> Table:
    return matrix(
        caption,
        frame,
        (PAIR[0], PAIR[1]),
        write,
        (numbers.trained, numbers.train_languages),
        corner="Test language",
    )
