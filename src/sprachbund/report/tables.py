"""The tables of a page: strings ready to be set, made from the same arrays as the charts."""

from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

from sprachbund.report.formatting import MISSING, fraction, number, percent, points
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers


@dataclass(frozen=True)
class Table:
    """A caption, column names, and rows whose first cell names the row."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    footer: Sequence[str] = ()


def overview_table(numbers: Numbers) -> Table:
    """One row a test language: counts, accuracy, own-language shares, strongest other language."""
    proponents, opponents = numbers.proponents.mean("seed"), numbers.opponents.mean("seed")
    rows = []
    for tag in numbers.test_languages:
        accuracy = numbers.final_accuracy.get(tag)
        rows.append(
            [
                language_label(tag),
                f"{numbers.train_counts[tag]:,}" if tag in numbers.trained else "zero-shot",
                f"{numbers.test_counts[tag]:,}",
                MISSING if accuracy is None else fraction(accuracy),
                _own(proponents, tag),
                _own(opponents, tag),
                percent(float(numbers.chance.sel(train_language=tag)))
                if tag in numbers.trained
                else MISSING,
                _strongest_other(numbers, proponents, tag),
            ]
        )
    return Table(
        "Each test language: accuracy after the last checkpoint; share of its top "
        f"{numbers.data.k:,} that is in its own language; other language farthest above chance",
        [
            "Language",
            "Training examples",
            "Test examples attributed",
            "Accuracy",
            "Own share of proponents",
            "Own share of opponents",
            "Chance",
            "Strongest other language",
        ],
        rows,
    )


def share_table(numbers: Numbers, share: xr.DataArray, name: str) -> Table:
    """Share by language pair, [seed, test_language, train_language], with chance at the foot."""
    header = ["Test language", *(language_label(tag) for tag in numbers.train_languages)]
    rows = [
        [
            language_label(test),
            *(
                _over_seeds(share.sel(test_language=test, train_language=train), 1)
                for train in numbers.train_languages
            ),
        ]
        for test in numbers.test_languages
    ]
    chance = [percent(float(value)) for value in numbers.chance.values]
    caption = (
        f"Share of the top {numbers.data.k:,} {name} by training language"
        f"{_spread_note(share)}; each row sums to 100%"
    )
    return Table(caption, header, rows, ["Chance", *chance])


def own_share_table(numbers: Numbers) -> Table:
    """Own-language share by epoch, one row a language trained on."""
    return _course(
        numbers,
        numbers.own_share.rename(test_language="language"),
        f"Share of the top {numbers.data.k:,} proponents in the test example’s own language, by epoch",
        1,
    )


def accuracy_table(numbers: Numbers) -> Table:
    """Accuracy by epoch, one row a language."""
    return _course(numbers, numbers.accuracy, "Accuracy by epoch", 100)


def _course(numbers: Numbers, values: xr.DataArray, caption: str, factor: float) -> Table:
    steps = values["checkpoint"].values.tolist()
    epochs = [number(round(float(numbers.epochs.sel(checkpoint=step)), 2)) for step in steps]
    rows = [
        [
            language_label(tag),
            *(_over_seeds(values.sel(language=tag, checkpoint=step), factor) for step in steps),
        ]
        for tag in values["language"].values.tolist()
    ]
    return Table(
        caption + _spread_note(values), ["Language", *(f"Epoch {e}" for e in epochs)], rows
    )


def _over_seeds(values: xr.DataArray, factor: float) -> str:
    found = values.dropna("seed") * factor
    if found.sizes["seed"] == 0:
        return MISSING
    mean = percent(float(found.mean()))
    return mean if found.sizes["seed"] == 1 else f"{mean} ± {float(found.std(ddof=1)):.1f}"


def _spread_note(values: xr.DataArray) -> str:
    n_seeds = values.sizes["seed"]
    return f" (mean ± standard deviation over {n_seeds} seeds)" if n_seeds > 1 else ""


def _own(share: xr.DataArray, tag: str) -> str:
    if tag not in share["train_language"].values:
        return MISSING
    return percent(float(share.sel(test_language=tag, train_language=tag)))


def _strongest_other(numbers: Numbers, share: xr.DataArray, tag: str) -> str:
    others = [other for other in numbers.train_languages if other != tag]
    if not others:
        return MISSING
    excess = (share - numbers.chance).sel(test_language=tag, train_language=others)
    other = str(excess["train_language"].values[int(excess.values.argmax())])
    value = float(share.sel(test_language=tag, train_language=other))
    return f"{language_label(other)} {percent(value)} ({points(float(excess.max()))})"
