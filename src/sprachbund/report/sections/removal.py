"""The removal check: whether predictions suffer more without their proponents than without other examples."""

import math

import altair as alt
import pandas as pd

from sprachbund.analysis.labels import ALL
from sprachbund.analysis.removal_noise import INFLUENCE, RANDOM
from sprachbund.analysis.table import FALSE_DISCOVERY_RATE, differs
from sprachbund.report.formatting import (
    decimal,
    listing,
    named_probability,
    portion,
    probability,
)
from sprachbund.report.interval_charts import interval_chart
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import Row, estimate_of, estimates_of, rows_of
from sprachbund.report.section import Figure, Folded, Reading, Section
from sprachbund.report.tables import Table, estimated, marked_estimate, matrix
from sprachbund.report.verdicts import that_differ

_MEASURES = {
    "predicted_drop": "Drop of the probability of the predicted class, points",
    "label_drop": "Drop of the probability of the label, points",
    "flips": "Test examples of which another class is predicted, percent",
}
_VERDICT_ON = "predicted_drop"


def removal(numbers: Numbers) -> Section | None:
    """Influence against each control, and the drops behind it."""
    drops, differences = numbers.table("removal_drops"), numbers.table("removal_differences")
    if drops is None or differences is None:
        return None
    against = _of_all(differences)
    return Section(
        id="removal",
        topic="Removal check",
        heading="Do predictions rest on their proponents?",
        findings=[_finding(against), _cost(_of_all(drops)), *_verdicts(against)],
        parts=[
            _differences_table(against),
            Figure("removal", _chart(_of_all(drops))),
            Folded(
                [*_drop_tables(drops), _table_by_language(numbers, differences)],
                "The drops, and the differences by language, as tables",
            ),
            Reading(
                "Training examples are removed by each criterion, the model is fine-tuned again from the "
                "same start, and the probability of the class that the full run predicts is compared. "
                "Differences are paired by test example; above 0, influence removes more. The "
                "verdicts and asterisks are by q, corrected over controls and k, and none where seeds disagree in "
                "sign. No difference shown is not to say that there is none. "
                f"{differences.attrs.get('caption', '')}".strip()
            ),
        ],
    )


def _of_all(frame: pd.DataFrame) -> pd.DataFrame:
    """What the verdicts are on: the predicted class, all test examples together."""
    return frame[(frame["test_language"] == ALL) & (frame["measure"] == _VERDICT_ON)]


def _finding(against: pd.DataFrame) -> str:
    """Against which controls influence wins, at how many k."""
    wins, losses = [], []
    for control, rows in against.groupby("control", sort=False):
        means = that_differ(rows)["mean"]
        won, lost = (
            portion(int(n), len(rows), "value") for n in ((means > 0).sum(), (means < 0).sum())
        )
        wins.append(f"{control} at {won} of k")
        losses += [f"{control} at {lost} of k"] * bool((means < 0).any())
    worse = f" It is worse than {listing(losses)}." * bool(losses)
    if not (that_differ(against)["mean"] > 0).any():
        controls = listing(list(dict.fromkeys(against["control"])))
        return f"Influence is not shown to beat any control ({controls}) at any k.{worse}"
    return f"Influence beats {listing(wins)}.{worse}"


def _cost(drops: pd.DataFrame) -> str:
    """What the removal of the most examples costs, by influence and at random."""
    k = drops["k"].max()
    found = {row["criterion"]: row for row in rows_of(drops[drops["k"] == k])}
    random = f"; without as many random ones by {_points(found[RANDOM])}" if RANDOM in found else ""
    return (
        f"Without the {k:,} training examples with the most influence the probability of the predicted "
        f"class falls by {_points(found[INFLUENCE])} over all {int(found[INFLUENCE]['n_test']):,} test "
        f"examples{random}."
    )


def _verdicts(against: pd.DataFrame) -> list[str]:
    """One sentence for each control, over the values of k."""
    return [
        f"Against {control}: {'; '.join(_verdict(row) for row in rows_of(rows))}."
        for control, rows in against.groupby("control", sort=False)
    ]


def _verdict(row: Row) -> str:
    at = f"at k = {row['k']:,}"
    if math.isnan(row["q_value"]):
        return f"{at} not tested, as there is no interval (difference {decimal(row['mean'], 1)} points)"
    beats = "influence beats it" if row["mean"] > 0 else "influence is worse"
    said = beats if differs(row) else "no difference is shown"
    split = ", but seeds disagree in sign" * (
        not differs(row) and row["q_value"] <= FALSE_DISCOVERY_RATE
    )
    return (
        f"{at} {said} (difference {_points(row)}, {named_probability('q', row['q_value'])}{split})"
    )


def _points(row: Row) -> str:
    return estimate_of(row, unit=" points")


def _differences_table(against: pd.DataFrame) -> Table:
    rows = [
        [
            f"{row['control']}, k = {row['k']:,}",
            marked_estimate(row),
            probability(row["p_value"]),
            probability(row["q_value"]),
        ]
        for row in rows_of(against)
    ]
    caption = (
        "Drop of the probability of the predicted class without what influence names, less that "
        "without what the control names, points; all test examples"
    )
    return Table(caption, ["Control", "Difference [95% interval]", "p", "q"], rows)


def _chart(drops: pd.DataFrame) -> alt.FacetChart:
    return interval_chart(
        drops[["mean", "low", "high"]].assign(
            panel=[f"k = {k:,}" for k in drops["k"]],
            row=drops["criterion"],
            chance=0.0,
            estimate=estimates_of(drops, unit=" points"),
        ),
        "Drop, points",
        "Points with intervals, one panel a number of removed examples: mean drop of the probability "
        "of the predicted class by what was removed. The tables below have the same numbers.",
        "No change",
    )


def _drop_tables(drops: pd.DataFrame) -> list[Table]:
    """Each measure by criterion and k, all test examples."""
    of_all = drops[drops["test_language"] == ALL]
    return [
        matrix(
            what,
            of_all[of_all["measure"] == measure],
            ("criterion", "k"),
            estimated(unit=""),
            (list(dict.fromkeys(of_all["criterion"])), list(dict.fromkeys(of_all["k"]))),
            corner="Removed by",
            label=(str, lambda k: f"k = {k:,}"),
        )
        for measure, what in _MEASURES.items()
    ]


def _table_by_language(numbers: Numbers, differences: pd.DataFrame) -> Table:
    shown = differences[differences["measure"] == _VERDICT_ON]
    shown = shown.assign(against=[f"{row['control']}, k = {row['k']:,}" for row in rows_of(shown)])
    return matrix(
        "Influence less each control by test language: drop of the probability of the predicted "
        "class, points",
        shown,
        ("against", "test_language"),
        marked_estimate,
        (list(dict.fromkeys(shown["against"])), numbers.test_languages),
        corner="Control",
        label=(str, language_label),
    )
