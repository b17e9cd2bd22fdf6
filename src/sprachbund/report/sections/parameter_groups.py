"""Which parts of the model prefer which language: the lift by what each group of parameters contributes alone."""

import math
from collections.abc import Iterable

import pandas as pd

from sprachbund.report.formatting import decimal, percent, score, score_estimate
from sprachbund.report.interest import pairs_of_interest, subject_of
from sprachbund.report.interval_charts import interval_chart
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import Row, estimates_of, span_of
from sprachbund.report.section import Figure, Folded, Reading, Section
from sprachbund.report.tables import Table, estimated, matrix
from sprachbund.report.verdicts import excludes, in_how_many

_CHANCE = 1.0


def parameter_groups(numbers: Numbers) -> Section | None:
    """The lift and the contribution of each group of parameters."""
    frame = numbers.table("share_by_parameter_group")
    if frame is None:
        return None
    lifts = _as_lifts(pairs_of_interest(numbers, frame))
    subject = subject_of(numbers)
    chart = interval_chart(
        lifts[["panel", "mean", "low", "high"]].assign(
            row=lifts["group"], chance=_CHANCE, estimate=estimates_of(lifts, 2, "")
        ),
        "Lift",
        "Points with intervals, one panel a language: lift by what each group of parameters "
        "contributes alone. The tables below have the same numbers.",
    )
    caption = str(frame.attrs.get("caption", ""))
    return Section(
        id="parameter-groups",
        topic="Parts of the model",
        heading="Which parts of the model the influence comes from",
        findings=[_lift_in_words(lifts, subject), _contribution_in_words(lifts)],
        parts=[
            _by_group(lifts, subject),
            Figure("parameter-groups", chart),
            Folded([_by_language(lifts)]),
            Reading(
                "The scores are split into what each group of parameters contributes, which adds up to "
                "the whole, and the training examples are ranked by each group alone. Lift is the share "
                "of the top of that ranking over chance (1). Lifts of groups do not add up; the "
                "contributions to the mean influence of one training example do, over the groups. "
                f"{embeddings_in_words(lifts['group'])}{caption}".strip()
            ),
        ],
    )


def embeddings_in_words(names: Iterable[str]) -> str:
    """What the groups of embeddings hold, as a sentence; nothing where no name is that of one.

    The second is easily taken for the sub-words of one language, and is not these alone.
    """
    if not any("embeddings" in name for name in names):
        return ""
    return (
        "“Embeddings: shared sub-words” are the vocabulary’s rows of sub-words that occur in the training texts of "
        "two languages or more; “embeddings: other” is all else before the layers: the other sub-words, special "
        "tokens, positions, token types and norms. "
    )


def _as_lifts(frame: pd.DataFrame) -> pd.DataFrame:
    chance = frame["expected_percent"]
    return frame.assign(**{name: frame[name] / chance for name in ("mean", "low", "high")})


def _lift_in_words(lifts: pd.DataFrame, subject: str) -> str:
    means = lifts.groupby("group", sort=False)["mean"].mean()
    most, least = str(means.idxmax()), str(means.idxmin())
    text = f"Ranked by one group of parameters alone, the {subject} is highest in {_named(lifts, most)}"
    if len(means) > 1:
        text += f"; lowest in {_named(lifts, least)}"
    if not excludes(lifts, _CHANCE).any():
        text += ". No interval excludes chance, so that no effect of any group is shown"
    return f"{text}."


def _named(lifts: pd.DataFrame, group: str) -> str:
    there = lifts[lifts["group"] == group].dropna(subset="mean")
    span = span_of(there, lambda row: str(row["panel"]), 2, "")
    return (
        f"“{group}”, {span}; its interval excludes chance in "
        f"{in_how_many(there, 'language', _CHANCE)}"
    )


def _contribution_in_words(lifts: pd.DataFrame) -> str:
    parts = _parts_percent(lifts)
    if parts.isna().all():
        return "The mean influence is not above 0, so that no group's part of it can be given."
    group = str(parts.idxmax())
    part = percent(float(parts[group]))
    rows = lifts[lifts["group"] == group]
    limits = rows.assign(low=rows["contribution_low"], high=rows["contribution_high"])
    certain = in_how_many(limits, "language", 0.0)
    return (
        f"To the mean influence of a training example “{group}” contributes most: {part} of it, averaged over the "
        f"test languages{_by_panel_in_words(lifts, group)}. The interval of its contribution excludes 0 in {certain}."
    )


def _by_panel_in_words(lifts: pd.DataFrame, group: str) -> str:
    """Between which languages the group's part lies; nothing where one of them has no mean influence above 0."""
    contributions = lifts.pivot(index="panel", columns="group", values="contribution")
    whole = contributions.sum(axis="columns")
    if len(whole) == 1 or not (whole > 0).all():
        return ""
    parts = 100.0 * contributions[group] / whole
    ends = [
        f"{percent(float(parts[panel]))} ({panel})"
        for panel in (str(parts.idxmin()), str(parts.idxmax()))
    ]
    return f", from {ends[0]} to {ends[1]} by language"


def _parts_percent(lifts: pd.DataFrame) -> "pd.Series[float]":
    """Each group's part of the mean influence, percent; NaN where that is not above 0."""
    means = _mean_contributions(lifts)
    whole = float(means.sum())
    return 100.0 * means / (whole if whole > 0 else math.nan)


def _mean_contributions(lifts: pd.DataFrame) -> "pd.Series[float]":
    return lifts.groupby("group", sort=False)["contribution"].mean()


def _by_group(lifts: pd.DataFrame, subject: str) -> Table:
    means, parts = _mean_contributions(lifts), _parts_percent(lifts)
    rows = []
    for group, part in lifts.groupby("group", sort=False):
        rows.append(
            [
                str(group),
                decimal(float(part["mean"].mean())),
                f"{int(excludes(part, _CHANCE).sum())} of {len(part)}",
                score(float(means[group])),
                percent(float(parts[group])),
            ]
        )
    header = ["Group", "Mean lift", "Interval excludes 1", "Contribution", "Of the whole"]
    caption = (
        f"The {subject} by group of parameters (1 is chance), and the group’s contribution to the mean influence of "
        "one such training example, in the method’s unit and percent; means over the test languages"
    )
    return Table(caption, header, rows)


def _by_language(lifts: pd.DataFrame) -> Table:
    lift = estimated(2, "")

    def both(row: Row) -> str:
        ends = (row["contribution_low"], row["contribution_high"])
        return f"{lift(row)}; {score_estimate(row['contribution'], *ends)}"

    return matrix(
        "Lift by group of parameters (1 is chance), and the group’s contribution, with 95% intervals",
        lifts,
        ("group", "panel"),
        both,
        (list(dict.fromkeys(lifts["group"])), list(dict.fromkeys(lifts["panel"]))),
        corner="Group",
        label=(str, str),
    )
