"""The tables of shares, lifts and means by language pair that the page folds away."""

import pandas as pd

from sprachbund.analysis.table import differs
from sprachbund.report.formatting import decimal, percent
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import PAIR, Numbers
from sprachbund.report.tables import Table, Write, estimated, matrix, with_chance

_CORNER = "Test language"
_DIFFERS = "*"


def share_table(numbers: Numbers, frame: pd.DataFrame, what: str) -> Table:
    """Shares by language pair with intervals; those that differ from chance have an asterisk."""
    write = estimated()
    return _by_pair(
        numbers,
        frame,
        f"{what}, percent, with 95% intervals; an asterisk where the pair differs from chance",
        lambda row: write(row) + _DIFFERS * differs(row),
        chance=True,
    )


def pair_tables(numbers: Numbers, sign: str) -> list[Table]:
    """Lift and share of the mass; for proponents the mean influence too."""
    k = f"{numbers.data.k:,}"
    wanted = [
        (
            f"lift_{sign}",
            f"Lift in the top {k} {sign}: share over chance; 1 is chance",
            2,
            "",
            False,
        ),
        (f"mass_{sign}", f"Share of the summed influence of all {sign}, percent", 1, "%", True),
    ]
    tables = [
        _by_pair(numbers, frame, caption, estimated(digits, unit), chance=chance)
        for name, caption, digits, unit, chance in wanted
        if (frame := numbers.table(name)) is not None
    ]
    means = numbers.table("mean_influence")
    if sign == "proponents" and means is not None:
        tables.append(_mean_influence(numbers, means))
    return tables


def shares_by_k(numbers: Numbers, sign: str) -> list[Table]:
    """Share of the own language by k, one row a language; none where no language is its own."""
    frame = numbers.table(f"share_{sign}_by_k")
    if frame is None or not numbers.trained:
        return []
    own = frame[frame["test_language"] == frame["train_language"]]
    ks = sorted(set(own["k"].tolist()))
    table = matrix(
        f"Share of the own language among the top k {sign}, percent",
        own,
        ("test_language", "k"),
        estimated(),
        (numbers.trained, ks),
        corner=_CORNER,
        label=(language_label, lambda k: f"k = {k:,}"),
    )
    return [with_chance(table, own_chance(numbers))]


def own_chance(numbers: Numbers) -> list[str]:
    """What the own-language share is by chance, for each test language trained on."""
    return [percent(float(numbers.chance.sel(train_language=tag))) for tag in numbers.trained]


def _mean_influence(numbers: Numbers, means: pd.DataFrame) -> Table:
    """In units that make the numbers short: 0.00012 is written as 1.2 with the factor named once."""
    size = float(means["mean"].abs().max())
    power = 0 if size == 0 or 0.01 <= size < 1000 else int(f"{size:e}".split("e")[1])
    columns = ["mean", "low", "high", "expected"]
    scaled = means.assign(**{name: means[name] / 10.0**power for name in columns})
    unit = f", times 10 to the power of {power}" if power else ""
    caption = (
        f"Mean influence of one training example on one test example ({numbers.data.method}, summed "
        f"over the run{unit}); chance is the mean over all training examples, which all of a row would be "
        "if the language did not matter"
    )
    table = _by_pair(numbers, scaled, caption, estimated(2, ""), chance=False)
    expected = scaled.drop_duplicates("test_language").set_index("test_language")["expected"]
    levels = expected.reindex(list(numbers.test_languages))
    return with_chance(table, [decimal(level) for level in levels])


def _by_pair(
    numbers: Numbers, frame: pd.DataFrame, caption: str, write: Write, *, chance: bool
) -> Table:
    levels = [percent(float(level)) for level in numbers.chance.values] if chance else []
    return matrix(
        caption,
        frame,
        (PAIR[0], PAIR[1]),
        write,
        (numbers.test_languages, numbers.train_languages),
        corner=_CORNER,
        chance=levels,
    )
