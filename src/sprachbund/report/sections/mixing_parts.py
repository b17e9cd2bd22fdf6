"""More and less of a language, and two of them together: what other mixes do to accuracy."""

import altair as alt
import pandas as pd

from sprachbund.analysis.layouts import STARRED
from sprachbund.report.formatting import number
from sprachbund.report.interval_charts import interval_chart
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import Row, estimate_of, estimates_of, highest, rows_of, span_of
from sprachbund.report.section import Figure, Folded, Heading, Part, Reading
from sprachbund.report.tables import marked_estimate, matrix
from sprachbund.report.verdicts import after_correction, excludes, in_how_many

_POINTS = " points"
_NO_EFFECT = ": no effect is shown"


def factor_parts(numbers: Numbers) -> list[Part]:
    """Accuracy with so many times the examples of a language, less that of the study."""
    frame = numbers.table("mixing_factors")
    if frame is None:
        return []
    changes = frame[frame["factor"] != 1].dropna(subset="mean")
    if changes.empty:
        return []
    changes = changes.assign(scaled=[_scaled(row) for row in rows_of(changes)])
    own = changes[changes["language"] == changes["test_language"]]
    table = matrix(
        "Accuracy with so many times the examples of a language, less that of the study itself, "
        f"percentage points; {STARRED}",
        changes,
        ("scaled", "test_language"),
        marked_estimate,
        (list(dict.fromkeys(changes["scaled"])), numbers.test_languages),
        corner="Scaled language",
        label=(str, language_label),
    )
    figure = [] if own.empty else [Figure("mixing-factors", _factor_chart(own))]
    return [
        Heading("More or less of a language", _factors_in_words(changes, own)),
        *figure,
        Folded([table]),
    ]


def _scaled(row: Row) -> str:
    return f"{language_label(row['language'])}, {_times(row)}"


def _times(row: Row) -> str:
    return f"{number(row['factor'])} times"


def _factors_in_words(changes: pd.DataFrame, own: pd.DataFrame) -> str:
    none = _NO_EFFECT * (not excludes(changes).any())
    text = (
        "Over scaled languages, factors and test languages the change in accuracy has an interval that "
        f"excludes 0 in {in_how_many(changes, 'cell')}{none}.{after_correction(changes, 'cell')}"
    )
    if own.empty:
        return text
    most = own[own["factor"] == own["factor"].max()]
    span = span_of(most, lambda row: language_label(row["language"]), unit=_POINTS)
    return f"{text} In the language itself, with {_times(rows_of(most)[0])} its examples: {span}."


def _factor_chart(own: pd.DataFrame) -> alt.FacetChart:
    return interval_chart(
        own[["mean", "low", "high"]].assign(
            panel=own["language"].map(language_label),
            row=[_times(row) for row in rows_of(own)],
            chance=0.0,
            estimate=estimates_of(own, unit=_POINTS),
        ),
        "Change in accuracy, points",
        "Points with intervals, one panel a language: change of the accuracy in the language itself by "
        "how many times its examples there are. The table below has the same numbers.",
        "No change",
    )


def pair_parts(numbers: Numbers) -> list[Part]:
    """Accuracy of two languages together, less that of the better of them alone."""
    frame = numbers.table("mixing_pairs")
    if frame is None:
        return []
    gains = frame.dropna(subset="mean")
    if gains.empty:
        return []
    most = highest(gains, gains["mean"])
    none = _NO_EFFECT * (not excludes(gains).any())
    text = (
        "Over pairs and test languages accuracy with two, less that with the better of them alone, has an "
        f"interval that excludes 0 in {in_how_many(gains, 'cell')}{none}.{after_correction(gains, 'cell')} The "
        "greatest gain is that of "
        f"{most['pair']} for {language_label(most['test_language'])}, {estimate_of(most, unit=_POINTS)}."
    )
    table = matrix(
        f"Accuracy with two languages less that with the better of them alone, percentage points; {STARRED}",
        gains,
        ("pair", "test_language"),
        marked_estimate,
        (list(dict.fromkeys(gains["pair"])), numbers.test_languages),
        corner="Pair",
        label=(str, language_label),
    )
    return [
        Heading("Two languages against the better one alone", text),
        Folded([table]),
        Reading(
            "The better one is picked on the same test examples, so that the gain is, if anything, too low; and a "
            "loss too great."
        ),
    ]
