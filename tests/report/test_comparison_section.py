"""What the page says of the overlap with another study; the numbers are written by hand."""

import pandas as pd
from made_up_report import made_up, numbers_with

from sprachbund.report import Results
from sprachbund.report.numbers import Numbers
from sprachbund.report.section import Folded
from sprachbund.report.sections.comparison import comparison

FRAME = pd.DataFrame(
    {
        "test_language": ["en", "de", "ko"],
        "jaccard": [0.6, 0.5, 0.1],
        "jaccard_low": [0.5, 0.4, 0.05],
        "jaccard_high": [0.7, 0.6, 0.15],
        "expected_jaccard": [0.05, 0.05, 0.05],
        "expected_jaccard_given_labels": [0.1, 0.1, 0.1],
        "rank_biased_overlap": [0.7, 0.6, 0.2],
        "rank_biased_overlap_low": [0.6, 0.5, 0.1],
        "rank_biased_overlap_high": [0.8, 0.7, 0.3],
        "expected_rank_biased_overlap": [0.08, 0.08, 0.08],
        "n_candidates": [400, 400, 500],
    }
)


def test_zero_shot_languages_and_the_span_of_the_others_are_said() -> None:
    section = comparison(numbers_with(overlap_with_other_study=FRAME))
    assert section is not None
    (finding,) = section.findings
    assert finding.endswith(
        "by the Jaccard index, 0.10 [0.05, 0.15] for ko Korean (zero-shot here) and from 0.50 [0.40, 0.60] (de "
        "German) to 0.60 [0.50, 0.70] (en English) for the languages trained on. Chance is 0.05, with the same "
        "labels 0.10."
    )
    (table,) = next(part for part in section.parts if isinstance(part, Folded)).tables
    assert list(table.rows[2]) == [
        "ko Korean",
        "0.10 [0.05, 0.15]",
        "0.05",
        "0.10",
        "0.20 [0.10, 0.30]",
        "0.08",
        "500",
    ]


def test_there_is_no_section_where_no_study_was_named() -> None:
    assert comparison(numbers_with()) is None


def test_a_study_that_is_not_run_yet_is_said_to_be_missing() -> None:
    results = Results({}, {"overlap with the other study": "it has no results yet"})
    section = comparison(Numbers(made_up(results=results)))
    assert section is not None
    assert section.findings == ["Not known yet: it has no results yet."]
