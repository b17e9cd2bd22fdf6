"""What else could make a language look influential: the lift that remains after each control."""

import pandas as pd

from sprachbund.analysis.confounds import NO_CONTROL
from sprachbund.report.formatting import MISSING, decimal, percent, portion, spaced
from sprachbund.report.interest import pairs_of_interest, subject_of
from sprachbund.report.interval_charts import interval_chart
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import estimates_of
from sprachbund.report.section import Figure, Folded, Reading, Section
from sprachbund.report.sections.parameter_groups import embeddings_in_words
from sprachbund.report.sections.properties import label_parts, property_parts
from sprachbund.report.tables import Table, estimated, matrix
from sprachbund.report.verdicts import excludes

_ID, _TOPIC = "explanations", "What else could explain it"
_CHANCE = 1.0


def explanations(numbers: Numbers) -> Section:
    """The lift that remains after each control, and what influence goes with."""
    frame = numbers.table("confounds")
    heading = "What else could explain it?"
    if frame is None:
        return Section(_ID, _TOPIC, heading, [numbers.why_not("confounds")])
    own = pairs_of_interest(numbers, frame)
    chart = interval_chart(
        _chart_rows(own),
        "Lift",
        "Points with intervals, one panel a language: lift after each control. The table below has "
        "the same numbers.",
    )
    return Section(
        _ID,
        _TOPIC,
        heading,
        findings=[_finding(own, subject_of(numbers))],
        parts=[
            _remaining(own, subject_of(numbers)),
            Figure("controls", chart),
            Folded([_lifts(own)]),
            Reading(
                "Each control takes one explanation out of the scores, or ranks only part of the training "
                "examples, and the lift (share over chance; 1 is chance) is taken anew. What remains is "
                "(lift − 1) over (lift without control − 1): 100% where the control changes nothing, 0% "
                "where it explains all. A control for what differs between languages takes part of what "
                "is the languages’ own with it: what has gone need not have been spurious. "
                f"{embeddings_in_words(own['control'])}All language "
                "pairs are in the table “confounds” of the study’s folder."
            ),
            *label_parts(numbers),
            *property_parts(numbers),
        ],
    )


def _finding(own: pd.DataFrame, subject: str) -> str:
    plain = own[own["control"] == NO_CONTROL]
    effects = plain[excludes(plain, _CHANCE)]
    if effects.empty:
        return (
            f"Without any control the {subject} differs from chance in none of "
            f"{len(plain)} languages, so that there is no effect to explain."
        )
    # Those of a decomposition of one checkpoint are relative to that checkpoint's lift, which is another effect.
    controlled = own[
        (own["control"] != NO_CONTROL)
        & (own["compared_with"] == NO_CONTROL)
        & own["test_language"].isin(set(effects["test_language"]))
    ]
    remaining = controlled.groupby("control", sort=False)["remaining_percent"]
    left = remaining.median()[remaining.count() == len(effects)]
    control = str(left.idxmin())
    there = controlled[controlled["control"] == control]
    return (
        f"Without any control the {subject} differs from chance in "
        f"{portion(len(effects), len(plain), 'language')}. The control that takes most is "
        f"“{spaced(control)}”: the median of what remains "
        f"is {percent(float(left[control]), 0)}, and the interval still excludes chance in "
        f"{portion(int(excludes(there, _CHANCE).sum()), len(effects), 'language')}."
    )


def _remaining(own: pd.DataFrame, subject: str) -> Table:
    rows = []
    for control, part in own.groupby("control", sort=False):
        left = part["remaining_percent"].dropna()
        spread = (
            f"{percent(left.min(), 0)} to {percent(left.max(), 0)}" if len(left) > 1 else MISSING
        )
        rows.append(
            [
                spaced(str(control)),
                decimal(float(part["mean"].mean())),
                f"{int(excludes(part, _CHANCE).sum())} of {len(part)}",
                percent(float(left.median()) if len(left) else float("nan"), 0),
                spread,
            ]
        )
    header = ["Control", "Mean lift", "Interval excludes 1", "Remains, median", "Range"]
    caption = f"The {subject} after each control, over the test languages; 1 is chance"
    return Table(caption, header, rows)


def _lifts(own: pd.DataFrame) -> Table:
    return matrix(
        "Lift after each control, with 95% intervals; 1 is chance",
        own,
        ("control", "panel"),
        estimated(2, ""),
        (list(dict.fromkeys(own["control"])), list(dict.fromkeys(own["panel"]))),
        corner="Control",
        label=(spaced, str),
    )


def _chart_rows(own: pd.DataFrame) -> pd.DataFrame:
    return own[["panel", "mean", "low", "high"]].assign(
        row=own["control"].map(spaced), chance=_CHANCE, estimate=estimates_of(own, 2, "")
    )
