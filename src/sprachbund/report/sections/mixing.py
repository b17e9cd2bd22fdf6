"""What each language adds: fine-tuning on other mixes of the study's languages."""

import pandas as pd

from sprachbund.analysis.layouts import STARRED
from sprachbund.analysis.table import differs
from sprachbund.report.heat_maps import Pairs, heat_map
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import Row, estimate_of, highest, rows_of, span_of
from sprachbund.report.section import Figure, Folded, Part, Reading, Section
from sprachbund.report.sections.mixing_parts import factor_parts, pair_parts
from sprachbund.report.sections.proportions import proportion_parts
from sprachbund.report.tables import Table, estimated, marked_estimate, matrix
from sprachbund.report.verdicts import after_correction, excludes, in_how_many

_POINTS = " points"


def mixing(numbers: Numbers) -> Section | None:
    """What leaving a language out, more of it, and another beside it do to accuracy and shares."""
    accuracy = numbers.table("mixing_accuracy")
    if accuracy is None:
        return None
    added = numbers.table("mixing_contributions")
    n_mixes = accuracy["mix"].nunique() - 1
    findings = [f"Mixes beside the study’s own: {n_mixes}. None leaves out a single language."]
    if added is not None:
        added = added.dropna(subset="mean")
        findings = [_finding(added), *_to_others(added), *_to_itself(added)]
    return Section(
        id="mixing",
        topic="Mixing",
        heading="What each language adds",
        findings=findings,
        parts=[
            *([] if added is None else _contribution_parts(numbers, added)),
            *factor_parts(numbers),
            *pair_parts(numbers),
            *proportion_parts(numbers),
            Folded([_accuracies(numbers, accuracy)], "Accuracy of every mix as a table"),
        ],
    )


def _finding(added: pd.DataFrame) -> str:
    none = ": no effect is shown" * (not excludes(added).any())
    return (
        "Accuracy with all languages, less that with one of them left out, has an interval that excludes "
        f"0 in {in_how_many(added, 'language pair')}{none}. Without any effect about one interval in "
        f"twenty excludes it.{after_correction(added, 'language pair')}"
    )


def _to_others(added: pd.DataFrame) -> list[str]:
    others = added[added["left_out"] != added["test_language"]]
    if others.empty:
        return []
    most, least = (highest(others, sign * others["mean"]) for sign in (1, -1))
    return [f"To another language, most: {_in_words(most)}; least: {_in_words(least)}."]


def _to_itself(added: pd.DataFrame) -> list[str]:
    own = added[added["left_out"] == added["test_language"]]
    if own.empty:
        return []
    span = span_of(own, lambda row: language_label(row["test_language"]), unit=_POINTS)
    return [
        f"To itself a language adds {span}; the interval excludes 0 in {in_how_many(own, 'case')}."
    ]


def _in_words(row: Row) -> str:
    names = (language_label(row[name]) for name in ("left_out", "test_language"))
    return f"{' to '.join(names)}, {estimate_of(row, unit=_POINTS)}"


def _contribution_parts(numbers: Numbers, added: pd.DataFrame) -> list[Part]:
    left_out = [tag for tag in numbers.train_languages if tag in set(added["left_out"])]
    cells = added.rename(columns={"left_out": "train_language"}).assign(
        mean=added["mean"].round(1) + 0.0,  # a heat map would write "-0.0"
        chance=0.0,
        marked=[differs(row) for row in rows_of(added)],
    )
    pairs = Pairs(cells, left_out, "Added", _POINTS, "Language left out", "0", "+.1f")
    table = matrix(
        "What each language adds: accuracy with all languages less that without it, percentage points, "
        f"with 95% intervals; {STARRED}",
        added,
        ("test_language", "left_out"),
        marked_estimate,
        (numbers.test_languages, left_out),
        corner="Test language",
    )
    one_seed = " With one seed, the intervals say nothing of other seeds." * (
        len(numbers.data.seeds) < 2
    )
    return [
        Figure(
            "mixing",
            heat_map(
                pairs,
                "Heat map: percentage points of accuracy that each language adds to each test language. "
                "The table below has the same numbers.",
            ),
        ),
        Folded([table]),
        Reading(
            "Each column is a language that was left out of the fine-tuning data, each row a test language. "
            "Above 0 (orange) the language helps. A dot marks the cells that differ from 0 (q at most 0.05, and "
            "no seeds disagree in sign); the own language is outlined. Differences are paired by test example "
            "and seed. The number of steps follows the data, so that what a language adds includes what the "
            "longer training adds." + one_seed
        ),
    ]


def _accuracies(numbers: Numbers, accuracy: pd.DataFrame) -> Table:
    return matrix(
        "Accuracy of each mix by test language, percent, with 95% intervals",
        accuracy,
        ("mix", "test_language"),
        estimated(),
        (list(dict.fromkeys(accuracy["mix"])), numbers.test_languages),
        corner="Mix",
        label=(str, language_label),
    )
