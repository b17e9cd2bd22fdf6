"""Does reliance on other languages rise while the model still learns?"""

import pandas as pd

from sprachbund.errors import InfluenceError
from sprachbund.report import pooled
from sprachbund.report.dynamics_chart import CROSS, OWN, dynamics_chart
from sprachbund.report.formatting import decimal, estimate, number, percent
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import Row, estimate_of, rows_of
from sprachbund.report.section import Figure, Folded, Reading, Section
from sprachbund.report.tables import Table, estimated, matrix

_ID, _TOPIC = "dynamics", "Dynamics"
_HEADING = "How reliance on other languages changes during fine-tuning"
_CAPTIONS = {
    "alone": "Own-language share of the top {k:,} of each checkpoint alone, percent; the rest is in "
    "other languages",
    "running": "The same for the sum over the checkpoints so far, as the total has it",
}
_LEARNING = {
    "accuracy_percent": ("Accuracy on the attributed test examples, percent", 1, "%"),
    "loss": ("Loss on the attributed test examples, nats", 3, ""),
}


def dynamics(numbers: Numbers) -> Section:
    """Own against cross-language share by epoch, above accuracy and loss."""
    frame = numbers.table("dynamics")
    if not numbers.trained:
        text = "No test language was trained on, so that none has an own-language share to follow."
        return Section(_ID, _TOPIC, _HEADING, [text])
    if frame is None:
        return Section(_ID, _TOPIC, _HEADING, [numbers.why_not("dynamics")])
    together = pooled.own_share_by_checkpoint(numbers.data.influences, numbers.data.k)
    learned = _learned_together(numbers)
    chart = dynamics_chart(
        _shares(numbers, frame, together),
        _learning(numbers, learned),
        "Line charts, one column a language: share of the proponents in the own and in other "
        "languages, accuracy and loss by epoch. The tables below have the same numbers.",
    )
    return Section(
        _ID,
        _TOPIC,
        _HEADING,
        findings=[_change(numbers, together), _meanwhile(learned)],
        parts=[
            Figure("dynamics", chart),
            Folded(_tables(numbers, frame), "The numbers as tables"),
            Reading(
                f"The share of the top {numbers.data.k:,} proponents in other languages (blue) and in the "
                "test example’s own (orange), for each checkpoint taken alone; epoch 0 is the starting "
                "point, before any step. Both sum to 100%, and their axes span as many points. Dashed "
                "lines are chance, bands 95% intervals, cut off where they leave the panel. Below, on "
                "the same axis of epochs, accuracy and loss of the same test examples. "
                "Where the shares move after accuracy has settled, they do not move because the model "
                "learns."
                + (
                    " Zero-shot languages have no own language, hence no panel."
                    * bool(numbers.zero_shot)
                )
            ),
        ],
    )


def _change(numbers: Numbers, together: pd.DataFrame) -> str:
    rows = rows_of(together)
    first, last = rows[0], rows[-1]
    verdict = "there is one checkpoint, and so no course"
    if len(rows) > 1:
        verdict = _verdict(numbers, 0)
    # Before training the head is random: what changes first may be the head's doing alone.
    trained = [position for position, row in enumerate(rows) if row["epoch"] > 0]
    rest = ""
    if trained and 0 < trained[0] < len(rows) - 1:
        rest = f" From {_moment(rows[trained[0]])} on, {_verdict(numbers, trained[0])}."
    return (
        f"The own-language share goes from {estimate_of(first)} at {_moment(first)} to {estimate_of(last)} at "
        f"{_moment(last)} (chance {percent(last['chance'])}): {verdict}.{rest}"
    )


def _verdict(numbers: Numbers, since: int) -> str:
    change = pooled.change_of_own_share(numbers.data.influences, numbers.data.k, since)
    if change["high"] < 0:
        return f"reliance on other languages rises by {_points(change, -1)}"
    if change["low"] > 0:
        return f"reliance on other languages falls by {_points(change, 1)}"
    return f"no change in reliance on other languages is shown ({_points(change, -1)})"


def _points(change: dict[str, float], sign: int) -> str:
    low, high = sorted((sign * change["low"], sign * change["high"]))
    return estimate(sign * change["mean"], low, high, unit=" points")


def _meanwhile(learned: pd.DataFrame) -> str:
    parts = []
    for measure, name, digits, unit in (
        ("accuracy_percent", "accuracy", 1, "%"),
        ("loss", "loss", 2, ""),
    ):
        course = learned[learned["measure"] == measure]
        if not course.empty:
            ends = [f"{decimal(course['mean'].iloc[i], digits)}{unit}" for i in (0, -1)]
            parts.append(f"{name} goes from {ends[0]} to {ends[1]}")
    return (
        f"Meanwhile {' and '.join(parts)} on the same test examples."
        if parts
        else (
            "The result holds neither predictions nor losses, so that there is no learning curve."
        )
    )


def _learned_together(numbers: Numbers) -> pd.DataFrame:
    try:
        return pooled.learning(numbers.data.influences)
    except InfluenceError:
        return pd.DataFrame(columns=["measure", "epoch", "mean", "low", "high"])


def _shares(numbers: Numbers, frame: pd.DataFrame, together: pd.DataFrame) -> pd.DataFrame:
    """The rows of the chart: all languages, then each, with the two shares."""
    alone = frame[(frame["scores"] == "alone") & (frame["relation"] == "own")]
    alone = alone.rename(columns={"expected_percent": "chance"})
    parts = [
        alone[alone["test_language"] == tag].assign(panel=language_label(tag))
        for tag in numbers.trained
    ]
    if len(parts) > 1:
        parts.insert(0, together.assign(panel=_all(numbers)))
    own = pd.concat(parts)[["panel", "epoch", "mean", "low", "high", "chance"]]
    cross = own.assign(
        mean=100 - own["mean"], low=100 - own["high"], high=100 - own["low"],
        chance=100 - own["chance"],
    )  # fmt: skip
    return pd.concat([own.assign(series=OWN), cross.assign(series=CROSS)], ignore_index=True)


def _learning(numbers: Numbers, learned: pd.DataFrame) -> pd.DataFrame:
    columns = ["panel", "measure", "epoch", "mean", "low", "high"]
    curves = numbers.table("learning_curves")
    if curves is None:
        return pd.DataFrame(columns=columns)
    each = curves.assign(panel=curves["test_language"].map(language_label))
    return pd.concat([learned.assign(panel=_all(numbers)), each])[columns].astype(
        {"epoch": float, "mean": float}
    )


def _tables(numbers: Numbers, frame: pd.DataFrame) -> list[Table]:
    own = frame[frame["relation"] == "own"]
    tables = [
        _course(
            caption.format(k=numbers.data.k), own[own["scores"] == scores], numbers.trained, 1, "%"
        )
        for scores, caption in _CAPTIONS.items()
        if (own["scores"] == scores).any()
    ]
    curves = numbers.table("learning_curves")
    if curves is not None:
        tables += [
            _course(
                caption, curves[curves["measure"] == name], numbers.test_languages, digits, unit
            )
            for name, (caption, digits, unit) in _LEARNING.items()
            if (curves["measure"] == name).any()
        ]
    return tables


def _course(
    caption: str, frame: pd.DataFrame, languages: tuple[str, ...], digits: int, unit: str
) -> Table:
    epochs = sorted(set(frame["epoch"]))
    return matrix(
        caption,
        frame,
        ("test_language", "epoch"),
        estimated(digits, unit),
        (languages, epochs),
        corner="Language",
        label=(language_label, lambda epoch: f"Epoch {number(round(epoch, 2))}"),
    )


def _all(numbers: Numbers) -> str:
    return f"all {len(numbers.trained)} languages"


def _moment(row: Row) -> str:
    if int(row["checkpoint"]) == 0:
        return "the starting point"
    return f"epoch {number(round(float(row['epoch']), 2))}"
