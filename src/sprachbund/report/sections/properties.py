"""What influence goes with beside languages: labels, and plain properties of the training examples."""

import pandas as pd

from sprachbund.report.formatting import decimal, percent, portion, spaced
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers
from sprachbund.report.section import Folded, Heading
from sprachbund.report.tables import estimated, matrix


def label_parts(numbers: Numbers) -> list[Heading | Folded]:
    """How many proponents have the test example's label."""
    frame = numbers.table("label_agreement")
    if frame is None:
        return []
    proponents = frame[frame["sign"] == "proponents"]
    above = int((proponents["low"] > proponents["expected_percent"]).sum())
    text = (
        f"On average {percent(float(proponents['mean'].mean()))} of the top {numbers.data.k:,} "
        "proponents have the test example’s own label (chance "
        f"{percent(float(proponents['expected_percent'].mean()))}); the interval lies above chance in "
        f"{portion(above, len(proponents), 'language')}."
    )
    levels = proponents.set_index("test_language")["expected_percent"]
    table = matrix(
        f"Percentage of the top {numbers.data.k:,} that has the test example’s label",
        pd.concat([frame, proponents.assign(sign="chance", mean=levels.to_numpy(), low=None)]),
        ("test_language", "sign"),
        lambda row: percent(row["mean"]) if row["sign"] == "chance" else estimated()(row),
        (numbers.test_languages, ["proponents", "opponents", "chance"]),
        corner="Test language",
        label=(language_label, str.capitalize),
    )
    return [Heading("Labels", text), Folded([table])]


def property_parts(numbers: Numbers) -> list[Heading | Folded]:
    """Which properties of the training examples influence goes with."""
    frame = numbers.table("property_correlations")
    if frame is None:
        return []
    overall = frame[frame["train_language"] == "all"].dropna(subset="mean")
    if overall.empty:
        return []
    means = overall.groupby("property", sort=False)["mean"].mean()
    strongest = str(means.abs().idxmax())
    excluded = overall[(overall["low"] > 0) | (overall["high"] < 0)]
    text = (
        f"Influence goes most with {spaced(strongest)}: Spearman’s correlation over all training "
        f"examples is {decimal(float(means[strongest]))} on average over the test languages (0 is "
        f"chance); 0 lies outside {portion(len(excluded), len(overall), 'interval')}."
    )
    table = matrix(
        "Spearman’s correlation of influence with properties of the training examples, over all of "
        "them; 0 is chance",
        overall,
        ("property", "test_language"),
        estimated(2, ""),
        (list(dict.fromkeys(overall["property"])), numbers.test_languages),
        corner="Property",
        label=(spaced, language_label),
    )
    return [Heading("Properties of the training examples", text), Folded([table])]
