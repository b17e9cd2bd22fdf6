"""Whom do languages lean on that were never trained on?"""

import math

import pandas as pd

from sprachbund.report.formatting import decimal, named_probability, percent, probability
from sprachbund.report.interval_charts import interval_chart
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import estimate_of, estimates_of, highest, rows_of
from sprachbund.report.section import Figure, Folded, Reading, Section
from sprachbund.report.tables import Table
from sprachbund.report.verdicts import cells_that_differ

_ID, _TOPIC = "zero-shot", "Zero-shot languages"
_HEADING = "Whom the zero-shot languages lean on"


def zero_shot(numbers: Numbers) -> Section | None:
    """The rows of the sharing matrix that have no own language, with intervals."""
    if not numbers.zero_shot:
        return None
    frame = numbers.proponents
    rows = frame[frame["test_language"].isin(numbers.zero_shot)]
    k = f"{numbers.data.k:,}"
    chart = interval_chart(
        _chart_rows(numbers, rows),
        "Share of the proponents, %",
        f"Points with intervals, one panel a zero-shot language: share of its top {k} proponents by "
        "training language. The table below has the same numbers.",
    )
    leanings = "; ".join(_leaning(rows[rows["test_language"] == tag]) for tag in numbers.zero_shot)
    return Section(
        _ID,
        _TOPIC,
        _HEADING,
        findings=[
            f"{leanings}.",
            cells_that_differ(rows, "zero-shot pair"),
        ],
        parts=[
            Figure("zero-shot", chart),
            Folded([_table(numbers, rows)]),
            Reading(
                f"The share of each training language in the top {k} proponents of a language that was "
                "tested without having been trained on. Lines are 95% intervals, the upright tick is "
                "chance. A row sums to 100%, so that one language’s gain is the others’ loss; q values are "
                "corrected over all cells of the sharing matrix."
            ),
        ],
    )


def _leaning(rows: pd.DataFrame) -> str:
    most = highest(rows, rows["mean"] - rows["expected_percent"])
    q_value = "" if math.isnan(most["q_value"]) else f", {named_probability('q', most['q_value'])}"
    return (
        f"{language_label(most['test_language'])} leans most on "
        f"{language_label(most['train_language'])}: "
        f"{estimate_of(most)} (chance "
        f"{percent(most['expected_percent'])}{q_value})"
    )


def _chart_rows(numbers: Numbers, rows: pd.DataFrame) -> pd.DataFrame:
    ordered = _in_order(numbers, rows).reset_index(drop=True)
    return pd.DataFrame(
        {
            "panel": ordered["test_language"].map(language_label),
            "row": ordered["train_language"].map(language_label),
            "mean": ordered["mean"],
            "low": ordered["low"],
            "high": ordered["high"],
            "chance": ordered["expected_percent"],
            "estimate": estimates_of(ordered),
        }
    )


def _table(numbers: Numbers, rows: pd.DataFrame) -> Table:
    shown = [
        [
            f"{language_label(row['test_language'])} from {language_label(row['train_language'])}",
            estimate_of(row),
            percent(row["expected_percent"]),
            decimal(row["mean"] / row["expected_percent"]),
            probability(row["q_value"]),
        ]
        for row in rows_of(_in_order(numbers, rows))
    ]
    caption = (
        f"Zero-shot languages: share of the top {numbers.data.k:,} proponents by training language"
    )
    return Table(caption, ["Pair", "Share [95% interval]", "Chance", "Lift", "q"], shown)


def _in_order(numbers: Numbers, rows: pd.DataFrame) -> pd.DataFrame:
    return rows.loc[
        [(test, train) for test in numbers.zero_shot for train in numbers.train_languages]
    ]
