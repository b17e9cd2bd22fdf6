"""How well the model does in each language, as fine-tuning measured it."""

import numpy as np
import xarray as xr

from sprachbund.report.formatting import MISSING, fraction, number, percent
from sprachbund.report.languages import language_label
from sprachbund.report.line_charts import accuracy_chart
from sprachbund.report.numbers import Numbers
from sprachbund.report.section import Figure, Folded, Reading, Section
from sprachbund.report.tables import Table


def accuracy(numbers: Numbers) -> Section:
    """Accuracy by epoch and language."""
    n_labels = len(numbers.data.first.labels)
    several = len(numbers.data.seeds) > 1
    chart = accuracy_chart(
        numbers.accuracy,
        numbers.epochs,
        n_labels,
        "Line charts, one a language: accuracy by epoch. The table below has the same numbers.",
    )
    return Section(
        id="accuracy",
        topic="Accuracy",
        heading="Accuracy by language",
        findings=[_finding(numbers, n_labels)],
        parts=[
            Figure("accuracy", chart),
            Folded([accuracy_table(numbers)]),
            Reading(
                "On all the test examples of each language that fine-tuning was evaluated on, after each "
                f"epoch. The dashed line is a guess among the {n_labels} labels."
                + " Thin lines are single seeds, the bold line their mean."
                * several
            ),
        ],
    )


def accuracy_table(numbers: Numbers) -> Table:
    """Accuracy by epoch, one row a language."""
    values = numbers.accuracy
    steps = values["checkpoint"].values.tolist()
    epochs = [number(round(float(numbers.epochs.sel(checkpoint=step)), 2)) for step in steps]
    rows = [
        [
            language_label(tag),
            *(_over_seeds(100 * values.sel(language=tag, checkpoint=step)) for step in steps),
        ]
        for tag in values["language"].values.tolist()
    ]
    n_seeds = values.sizes["seed"]
    spread = f" (mean ± standard deviation over {n_seeds} seeds)" if n_seeds > 1 else ""
    return Table(f"Accuracy by epoch{spread}", ["Language", *(f"Epoch {e}" for e in epochs)], rows)


def _finding(numbers: Numbers, n_labels: int) -> str:
    parts = []
    for languages, name in (
        (numbers.trained, "the languages trained on"),
        (numbers.zero_shot, "the languages never trained on (zero-shot)"),
    ):
        known = numbers.final_accuracy
        found = {tag: known[tag] for tag in languages if tag in known}
        if found:
            parts.append(
                f"{fraction(float(np.mean(list(found.values()))))} over {name}{_range(found)}"
            )
    measured = " and ".join(parts) if parts else "not measured"
    guess = fraction(1 / n_labels)
    return (
        f"After the last checkpoint: {measured}. A guess among the {n_labels} labels is right in "
        f"{guess}."
    )


def _range(values: dict[str, float]) -> str:
    if len(values) < 2:
        return "".join(f" ({tag})" for tag in values)
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    return (
        f" (from {fraction(values[low])} for {language_label(low)} to {fraction(values[high])} "
        f"for {language_label(high)})"
    )


def _over_seeds(values: xr.DataArray) -> str:
    found = values.dropna("seed")
    if found.sizes["seed"] == 0:
        return MISSING
    mean = percent(float(found.mean()))
    return mean if found.sizes["seed"] == 1 else f"{mean} ± {float(found.std(ddof=1)):.1f}"
