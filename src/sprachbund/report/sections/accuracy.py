"""How well the model does in each language, as fine-tuning measured it."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr

from sprachbund.analysis.table import spread_of
from sprachbund.analysis.wilson import with_wilson_limits
from sprachbund.report.formatting import MISSING, estimate, fraction, number, percent
from sprachbund.report.languages import language_label
from sprachbund.report.line_charts import accuracy_chart
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import rows_of
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
    n_seeds = values.sizes["seed"]
    write = _over_seeds(values) if n_seeds > 1 else _with_limits(numbers.data.accuracy)
    rows = [
        [language_label(tag), *(write(tag, step) for step in steps)]
        for tag in values["language"].values.tolist()
    ]
    spread = (
        f"mean ± standard deviation over {n_seeds} seeds"
        if n_seeds > 1
        else "with 95% Wilson intervals for other examples of this run, drawn one by one"
    )
    caption = f"Accuracy by epoch on {_number_of_examples(numbers)}, {spread}"
    return Table(caption, ["Language", *(f"Epoch {e}" for e in epochs)], rows)


def _number_of_examples(numbers: Numbers) -> str:
    return f"{spread_of(numbers.data.accuracy['n'].tolist())} examples a language"


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
        f"After the last checkpoint, on {_number_of_examples(numbers)}: {measured}. A guess among the "
        f"{n_labels} labels is right in {guess}."
    )


def _range(values: dict[str, float]) -> str:
    if len(values) < 2:
        return "".join(f" ({tag})" for tag in values)
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    return (
        f" (from {fraction(values[low])} for {language_label(low)} to {fraction(values[high])} "
        f"for {language_label(high)})"
    )


def _over_seeds(values: xr.DataArray) -> Callable[[str, int], str]:
    def write(language: str, step: int) -> str:
        found = 100 * values.sel(language=language, checkpoint=step).dropna("seed")
        if found.sizes["seed"] == 0:
            return MISSING
        mean = percent(float(found.mean()))
        return mean if found.sizes["seed"] == 1 else f"{mean} ± {float(found.std(ddof=1)):.1f}"

    return write


def _with_limits(accuracy: pd.DataFrame) -> Callable[[str, int], str]:
    known = {
        (row["language"], row["checkpoint"]): estimate(
            100 * row["accuracy"], 100 * row["low"], 100 * row["high"]
        )
        for row in rows_of(with_wilson_limits(accuracy))
    }
    return lambda language, step: known.get((language, step), MISSING)
