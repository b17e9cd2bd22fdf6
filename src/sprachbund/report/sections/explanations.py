"""What else could make a language look influential: the lift that remains after each control."""

import pandas as pd

from sprachbund.analysis.confounds import AS_DEEP, NO_CONTROL
from sprachbund.analysis.table import differs
from sprachbund.report.formatting import MISSING, decimal, listing, percent, portion, spaced
from sprachbund.report.interest import pairs_of_interest, subject_of
from sprachbund.report.interval_charts import interval_chart
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import estimates_of, rows_of
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
            Folded([_lifts(own), _remaining_by_language(own)]),
            Reading(
                "Each control takes one explanation out of the scores, or ranks only part of the training "
                "examples, and the lift (share over chance; 1 is chance) is taken anew. What remains is "
                "(lift − 1) over (lift without control − 1): 100% where the control changes nothing, 0% "
                "where it explains all; its interval is that of a ratio (Fieller 1954), and wide where the lift "
                "without control is close to 1. Within a label the top is less deep, and is compared with one as "
                "deep among all training examples. A change is shown where q is at most 0.05 and no seeds disagree "
                "in sign. A control for what differs between languages takes part of what "
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
        ~_is_plain(own)
        & own["compared_with"].isin([NO_CONTROL, *AS_DEEP.values()])
        & own["test_language"].isin(set(effects["test_language"]))
    ]
    return (
        f"Without any control the {subject} differs from chance, by its interval, in "
        f"{portion(len(effects), len(plain), 'language')}. {_shown_changes(controlled)}"
    )


def _is_plain(own: pd.DataFrame) -> pd.Series:
    """Rows without control, which those of controls are compared with."""
    return own["control"] == own["compared_with"]


def _shown_changes(controlled: pd.DataFrame) -> str:
    """Which controls are shown to change the lift, and in which direction."""
    changed = [
        (str(control), changes, len(part))
        for control, part in controlled.groupby("control", sort=False)
        if (changes := _changes(part))
    ]
    if not changed:
        return "No control is shown to change it there."
    changed.sort(key=lambda found: -len(found[1]))
    said = [
        f"“{spaced(control)}” in {portion(len(changes), n_languages, 'language')} "
        f"({sum(change > 0 for change in changes)} up, {sum(change < 0 for change in changes)} down)"
        for control, changes, n_languages in changed
    ]
    return f"Controls that are shown to change it there: {listing(said)}."


def _changes(part: pd.DataFrame) -> list[float]:
    """The changes of the lift that differ from 0, among these rows."""
    return [row["change"] for row in rows_of(part) if differs(row, "change_q_value")]


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
                MISSING if _is_plain(part).all() else f"{len(_changes(part))} of {len(part)}",
                percent(float(left.median()) if len(left) else float("nan"), 0),
                spread,
            ]
        )
    header = [
        "Control",
        "Mean lift",
        "Interval excludes 1",
        "Change shown",
        "Remains, median",
        "Range",
    ]
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


def _remaining_by_language(own: pd.DataFrame) -> Table:
    known = own[~_is_plain(own) & own["remaining_percent"].notna()]
    return matrix(
        "What remains of the lift’s distance from 1 after each control, percent, with 95% intervals",
        known.rename(columns={"remaining_percent": "remaining"}),
        ("control", "panel"),
        estimated(0, "", "remaining"),
        (list(dict.fromkeys(known["control"])), list(dict.fromkeys(known["panel"]))),
        corner="Control",
        label=(spaced, str),
    )


def _chart_rows(own: pd.DataFrame) -> pd.DataFrame:
    return own[["panel", "mean", "low", "high"]].assign(
        row=own["control"].map(spaced), chance=_CHANCE, estimate=estimates_of(own, 2, "")
    )
