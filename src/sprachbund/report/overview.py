"""The table of the summary: one row a test language."""

from sprachbund.report.formatting import MISSING, fraction, percent, points
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import estimate_of, highest, rows_of
from sprachbund.report.tables import Table


def overview_table(numbers: Numbers) -> Table:
    """Counts, accuracy, own-language shares with intervals, strongest other language."""
    rows = []
    for tag in numbers.test_languages:
        is_trained = tag in numbers.trained
        accuracy = numbers.final_accuracy.get(tag)
        rows.append(
            [
                language_label(tag),
                f"{numbers.train_counts[tag]:,}" if is_trained else "zero-shot",
                f"{numbers.test_counts[tag]:,}",
                MISSING if accuracy is None else fraction(accuracy),
                _own(numbers, "proponents", tag),
                _own(numbers, "opponents", tag),
                percent(float(numbers.chance.sel(train_language=tag))) if is_trained else MISSING,
                _strongest_other(numbers, tag),
            ]
        )
    caption = (
        "Each test language: accuracy after the last checkpoint; share of its top "
        f"{numbers.data.k:,} that is in its own language, with 95% intervals; other language farthest "
        "above chance"
    )
    header = [
        "Language",
        "Training examples",
        "Test examples attributed",
        "Accuracy",
        "Own share of proponents",
        "Own share of opponents",
        "Chance",
        "Strongest other language",
    ]
    return Table(caption, header, rows)


def _own(numbers: Numbers, sign: str, tag: str) -> str:
    if tag not in numbers.trained:
        return MISSING
    frame = numbers.proponents if sign == "proponents" else numbers.opponents
    (row,) = rows_of(frame.loc[[(tag, tag)]])
    return estimate_of(row)


def _strongest_other(numbers: Numbers, tag: str) -> str:
    rows = numbers.proponents
    others = rows[(rows["test_language"] == tag) & (rows["train_language"] != tag)]
    if others.empty:
        return MISSING
    excess = others["mean"] - others["expected_percent"]
    most = highest(others, excess)
    label = language_label(str(most["train_language"]))
    return f"{label} {percent(most['mean'])} ({points(float(excess.max()))})"
