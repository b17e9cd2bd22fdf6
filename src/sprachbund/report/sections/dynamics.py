"""Does reliance on other languages rise while the model still learns?"""

import pandas as pd

from sprachbund.analysis.labels import ALL
from sprachbund.analysis.layouts import STARRED
from sprachbund.analysis.table import differs
from sprachbund.errors import InfluenceError
from sprachbund.report import pooled
from sprachbund.report.dynamics_chart import CROSS, OWN, dynamics_chart
from sprachbund.report.formatting import (
    decimal,
    estimate,
    listing,
    named_probability,
    number,
    percent,
)
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import Row, estimate_of, rows_of
from sprachbund.report.section import Figure, Folded, Reading, Section
from sprachbund.report.share_tables import own_chance
from sprachbund.report.tables import Table, estimated, marked_estimate, matrix, with_chance

_ID, _TOPIC = "dynamics", "Dynamics"
_HEADING = "How reliance on other languages changes during fine-tuning"
_CAPTIONS = {
    "alone": "Own-language share of the top {k:,} of each checkpoint alone, percent; the rest is in "
    "other languages",
    "running": "The same for the sum over the checkpoints so far, as the total has it",
}
_RISES, _FALLS, _NONE = "rises", "falls", "no change is shown"
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
    changes = _changes(numbers)
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
        findings=[
            _change(together, changes),
            *_at_every_k(changes, numbers.data.k),
            _meanwhile(learned),
        ],
        parts=[
            Figure("dynamics", chart),
            *([_change_table(changes)] if len(set(changes["k"])) > 1 else []),
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


def _changes(numbers: Numbers) -> pd.DataFrame:
    """Of all languages together: k, since, epoch, the change; without rows where there is one checkpoint."""
    frame = numbers.table("own_share_change")
    if frame is None:
        return pd.DataFrame(columns=["k", "since", "epoch", "mean", "low", "high", "q_value"])
    return frame[frame["test_language"] == ALL].drop(columns="test_language")


def _change(together: pd.DataFrame, changes: pd.DataFrame) -> str:
    rows = rows_of(together)
    first, last = rows[0], rows[-1]
    at_k = rows_of(changes[changes["k"] == last["k"]])
    verdict = _verdict(at_k[0]) if at_k else _no_verdict(len(rows))
    # Before training the head is random: what changes first may be the head's doing alone.
    later = at_k if first["epoch"] == 0 else []
    trained = next((row for row in later if row["epoch"] > 0), None)
    rest = f" From {_moment(trained)} on, {_verdict(trained)}." if trained else ""
    return (
        f"The own-language share of the top {last['k']:,} goes from {estimate_of(first)} at {_moment(first)} to "
        f"{estimate_of(last)} at {_moment(last)} (chance {percent(last['chance'])}): {verdict}.{rest}"
    )


def _no_verdict(n_checkpoints: int) -> str:
    if n_checkpoints == 1:
        return "there is one checkpoint, and so no course"
    return "the tables do not hold the interval of that change (`sprachbund analyse` makes it)"


def _verdict(change: Row) -> str:
    if _direction(change) == _NONE:
        return f"no change of it is shown ({_points(change)}{_why_none(change)})"
    return f"reliance on other languages {_direction(change)} by {_points(change)}"


def _direction(change: Row) -> str:
    """Where reliance on other languages goes: against the own-language share."""
    if not differs(change):
        return _NONE
    return _RISES if change["mean"] < 0 else _FALLS


def _why_none(change: Row) -> str:
    """What the interval does not tell: q, corrected for the number of changes."""
    excludes_zero = change["low"] > 0 or change["high"] < 0
    return f", {named_probability('q', change['q_value'])}" * bool(excludes_zero)


def _points(change: Row) -> str:
    """The change of the own-language share, as in the table; where one is shown, how far reliance on others went."""
    sign = -1 if _direction(change) == _RISES else 1
    low, high = sorted((sign * change["low"], sign * change["high"]))
    return estimate(sign * change["mean"], low, high, unit=" points")


def _at_every_k(changes: pd.DataFrame, k: int) -> list[str]:
    """What the course is at the other k since the first epoch: a large k holds most of what there is of a label."""
    trained = changes[(changes["epoch"] > 0) & (changes["k"] != k)]
    rows = rows_of(trained[trained["since"] == trained["since"].min()])
    said = []
    for direction in (_RISES, _FALLS, _NONE):
        found = [
            f"at k = {row['k']:,} ({_points(row)}{_why_none(row) * (direction == _NONE)})"
            for row in rows
            if _direction(row) == direction
        ]
        if found:
            subject = "reliance on other languages"
            said.append(
                f"no change of the own-language share is shown {listing(found)}"
                if direction == _NONE
                else f"{subject} {direction} {listing(found)}"
            )
    return [f"At other k, from {_moment(rows[0])} on: {'; '.join(said)}."] if said else []


def _change_table(changes: pd.DataFrame) -> Table:
    since = {row["since"]: _moment(row) for row in rows_of(changes)}
    return matrix(
        "Change of the own-language share of the top k until the last checkpoint, in points, all languages together; "
        f"below 0, reliance on other languages has risen; {STARRED}",
        changes,
        ("k", "since"),
        marked_estimate,
        (sorted(set(changes["k"])), list(since)),
        corner="k",
        label=(lambda k: f"{k:,}", lambda step: f"since {since[step]}"),
    )


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
        with_chance(
            _course(
                caption.format(k=numbers.data.k),
                own[own["scores"] == scores],
                numbers.trained,
                1,
                "%",
            ),
            own_chance(numbers),
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
    epoch = float(row["epoch"])
    return "the starting point" if epoch == 0 else f"epoch {number(round(epoch, 2))}"
