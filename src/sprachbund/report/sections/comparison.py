"""Do the same predictions rest on the same examples in another study?"""

import pandas as pd

from sprachbund.report.formatting import decimal
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import estimate_of, rows_of
from sprachbund.report.section import Folded, Reading, Section
from sprachbund.report.tables import Table

_ID, _TOPIC = "comparison", "Against another study"
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
                "which is the level to compare with."
            ),
        ],
    )


def _finding(numbers: Numbers, frame: pd.DataFrame) -> str:
    means = frame.groupby("test_language")["jaccard"].mean().sort_values()
    text = (
        f"Of the top {numbers.data.k:,} proponents from other languages, this study and the other share a "
        f"Jaccard index of {decimal(float(frame['jaccard'].mean()))} (chance "
        f"{decimal(float(frame['expected_jaccard'].mean()))}, with the same labels "
        f"{decimal(float(frame['expected_jaccard_given_labels'].mean()))})"
    )
    if len(means) == 1:
        return f"{text}."
    least, most = str(means.index[0]), str(means.index[-1])
    return (
        f"{text}: least for {language_label(least)} ({decimal(float(means[least]))}), most for "
        f"{language_label(most)} ({decimal(float(means[most]))})."
    )


def _table(numbers: Numbers, frame: pd.DataFrame) -> Table:
    shown = [
        [
            language_label(row["test_language"]),
            *(
                cell
                for name in ("jaccard", "rank_biased_overlap")
                for cell in (
                    estimate_of(row, digits=2, unit="", name=name),
                    decimal(row[f"expected_{name}"]),
                )
            ),
            f"{row['n_candidates']:,.0f}",
        ]
        for language in numbers.test_languages
        for row in rows_of(frame[frame["test_language"] == language])
    ]
    header = ["Test language", "Jaccard index", "Chance", "Rank-biased overlap", "Chance"]
    caption = f"Overlap with the other study of the top {numbers.data.k:,} proponents from other languages"
    return Table(caption, [*header, "Examples compared"], shown)
