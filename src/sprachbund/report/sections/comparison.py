"""Do the same predictions rest on the same examples in another study?"""

import pandas as pd

from sprachbund.report.formatting import decimal, listing
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import Row, estimate_of, rows_of, span_of
from sprachbund.report.section import Folded, Reading, Section
from sprachbund.report.tables import Table

_ID, _TOPIC = "comparison", "Against another study"
_AS_ESTIMATE = {"jaccard": "mean", "jaccard_low": "low", "jaccard_high": "high"}
_HEADING = "Do the same predictions rest on the same examples in the other study?"


def comparison(numbers: Numbers) -> Section | None:
    """The overlap with the study that `analysis.compare_with` names, where one is named."""
    why_not = numbers.results.left_out.get("overlap with the other study")
    if why_not is not None:
        return Section(_ID, _TOPIC, _HEADING, [f"Not known yet: {why_not}."])
    frame = numbers.table("overlap_with_other_study")
    if frame is None:
        return None
    return Section(
        _ID,
        _TOPIC,
        _HEADING,
        findings=[_finding(numbers, frame)],
        parts=[
            Folded([_table(numbers, frame)]),
            Reading(
                "For each test example of both studies, the top "
                f"{numbers.data.k:,} among the training examples that both have, those of its own language "
                "left out: a language that only one study trained on cannot make the difference by "
                "itself. 1 would be the same examples; two seeds of one study share less than all too, "
                f"which is the level to compare with. {frame.attrs.get('caption', '')}".strip()
            ),
        ],
    )


def _finding(numbers: Numbers, frame: pd.DataFrame) -> str:
    """First the languages never trained on here: whether a run that had them relies on the same examples."""
    of_zero_shot = frame["test_language"].isin(numbers.zero_shot)
    said = [
        f"{_in_words(row)} for {language_label(row['test_language'])} (zero-shot here)"
        for row in rows_of(frame[of_zero_shot])
    ]
    trained = frame[~of_zero_shot]
    if not trained.empty:
        span = span_of(
            trained.rename(columns=_AS_ESTIMATE),
            lambda row: language_label(row["test_language"]),
            2,
            "",
        )
        said.append(f"{span} for the languages trained on" if len(trained) > 1 else span)
    return (
        f"Of the top {numbers.data.k:,} proponents from other languages, this study and the other share, by the "
        f"Jaccard index, {listing(said)}. Chance is {_chance(frame, 'expected_jaccard')}, with the same labels "
        f"{_chance(frame, 'expected_jaccard_given_labels')}."
    )


def _in_words(row: Row) -> str:
    return estimate_of(row, digits=2, unit="", name="jaccard")


def _chance(frame: pd.DataFrame, column: str) -> str:
    """The level, or the levels from the least to the greatest."""
    ends = [decimal(float(level)) for level in (frame[column].min(), frame[column].max())]
    return " to ".join(dict.fromkeys(ends))


def _table(numbers: Numbers, frame: pd.DataFrame) -> Table:
    shown = [
        [
            language_label(row["test_language"]),
            _in_words(row),
            decimal(row["expected_jaccard"]),
            decimal(row["expected_jaccard_given_labels"]),
            estimate_of(row, digits=2, unit="", name="rank_biased_overlap"),
            decimal(row["expected_rank_biased_overlap"]),
            f"{row['n_candidates']:,.0f}",
        ]
        for language in numbers.test_languages
        for row in rows_of(frame[frame["test_language"] == language])
    ]
    header = [
        "Test language",
        "Jaccard index",
        "Chance",
        "Chance, same labels",
        "Rank-biased overlap",
        "Chance",
        "Examples compared",
    ]
    caption = f"Overlap with the other study of the top {numbers.data.k:,} proponents from other languages"
    return Table(caption, header, shown)
