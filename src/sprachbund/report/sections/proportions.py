"""How the own-language share goes with the language's part of the fine-tuning data."""

import pandas as pd

from sprachbund.report.formatting import decimal, percent
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers
from sprachbund.report.proportion_charts import proportion_chart
from sprachbund.report.rows import estimate_of, estimates_of, highest, rows_of
from sprachbund.report.section import Figure, Folded, Heading, Part, Reading
from sprachbund.report.tables import Table


def proportion_parts(numbers: Numbers) -> list[Part]:
    """The own-language share of every mix that was attributed, against chance."""
    frame = numbers.table("mixing_own_share")
    if frame is None:
        return []
    shares = frame.dropna(subset="mean")
    if shares.empty:
        return []
    chart = proportion_chart(
        shares[["mix", "mean", "low", "high"]].assign(
            panel=shares["test_language"].map(language_label),
            chance=shares["expected_percent"],
            estimate=estimates_of(shares),
        ),
        "Points with intervals, one panel a language: own-language share of the proponents by the "
        "language’s part of the fine-tuning data, one point a mix. The table below has the same numbers.",
    )
    return [
        Heading("Own-language share and proportion of the data", _finding(shares)),
        Figure("mixing-proportions", chart),
        Folded([_table(numbers, shares)]),
        Reading(
            "On the dashed line a language has as large a share of the proponents as of the data, as it "
            "would if training examples were retrieved without regard to language. k is the same for all "
            "mixes, and so nearer the top of the larger ones; the table mixing_own_share_as_deep has a k in "
            "proportion to each mix. A lift that falls there as the proportion rises says that the added "
            "examples are turned to less than the first ones were."
        ),
    ]


def _finding(shares: pd.DataFrame) -> str:
    above = int((shares["low"] > shares["expected_percent"]).sum())
    below = int((shares["high"] < shares["expected_percent"]).sum())
    by_language = [part for _, part in shares.groupby("test_language", sort=False)]
    least, most = (
        pd.DataFrame([highest(part, sign * part["expected_percent"]) for part in by_language])
        for sign in (-1, 1)
    )
    text = (
        "The interval of the own-language share lies above the language’s part of the data in "
        f"{above:,}, below it in {below:,} of {len(shares):,} cells of mix and language."
    )
    if (least["mix"] == most["mix"]).all():
        return text
    return (
        f"{text} The lift is {_mean_lift(least)} where a language has its smallest part of the data, "
        f"{_mean_lift(most)} where it has its largest (means over the languages, no interval)."
    )


def _mean_lift(rows: pd.DataFrame) -> str:
    proportion = percent(float(rows["expected_percent"].mean()))
    return f"{decimal(float(rows['lift'].mean()))} ({proportion} of the data)"


def _table(numbers: Numbers, shares: pd.DataFrame) -> Table:
    order = {tag: position for position, tag in enumerate(numbers.test_languages)}
    by_language = shares.sort_values(
        ["test_language", "expected_percent"],
        key=lambda column: column.map(order) if column.name == "test_language" else column,
        kind="stable",
    )
    rows = [
        [
            f"{language_label(row['test_language'])}, {row['mix']}",
            percent(row["expected_percent"]),
            estimate_of(row),
            decimal(row["lift"]),
        ]
        for row in rows_of(by_language)
    ]
    header = ["Language, mix", "Part of the data (chance)", "Own share [95% interval]", "Lift"]
    return Table("Own-language share of the proponents by mix, percent", header, rows)
