"""The section on the removal check says plainly whether influence beats each control."""

import numpy as np
import pandas as pd
import pytest
from chart_reader import rows_of_chart, texts
from made_up_report import numbers_with

from sprachbund.report.drawing import to_svg
from sprachbund.report.section import Folded, Section
from sprachbund.report.sections.removal import removal
from sprachbund.report.tables import Table

CONTROLS = ("random", "bm25")


def differences(cells: dict[tuple[str, int], tuple[float, float]]) -> pd.DataFrame:
    """(control, k) to mean and q value, certain to a point, of all test examples and of English."""
    rows = [
        {
            "measure": measure, "k": k, "test_language": tag, "control": control, "mean": mean,
            "low": mean - 1 if q_value == q_value else np.nan,
            "high": mean + 1 if q_value == q_value else np.nan, "p_value": q_value, "q_value": q_value,
        }
        for measure in ("predicted_drop", "label_drop", "flips")
        for tag in ("en", "all")
        for (control, k), (mean, q_value) in cells.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def drops(ks: tuple[int, ...] = (2, 4)) -> pd.DataFrame:
    rows = [
        {
            "measure": measure, "k": k, "test_language": tag, "criterion": criterion,
            "mean": 2.0 * k if criterion == "influence" else 1.0, "low": 0.5, "high": 9.0,
            "n_test": 12,
        }
        for measure in ("predicted_drop", "label_drop", "flips")
        for tag in ("en", "all")
        for k in ks
        for criterion in ("influence", *CONTROLS)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def made(cells: dict[tuple[str, int], tuple[float, float]]) -> Section:
    numbers = numbers_with(removal_drops=drops(), removal_differences=differences(cells))
    section = removal(numbers)
    assert section is not None
    return section


def test_each_control_has_its_verdict_with_the_interval() -> None:
    section = made(
        {
            ("random", 2): (3.0, 0.01), ("random", 4): (5.0, 0.01),
            ("bm25", 2): (0.2, 0.8), ("bm25", 4): (-3.0, 0.02),
        }
    )  # fmt: skip
    assert section.findings[0] == (
        "Influence beats random at all 2 values of k and bm25 at none of the 2 values of k. "
        "It is worse than bm25 at 1 of the 2 values of k."
    )
    assert "Without the 4 training examples with the most influence" in section.findings[1]
    assert "falls by 8.0 points [0.5, 9.0] over all 12 test examples" in section.findings[1]
    assert section.findings[1].endswith("as many random ones by 1.0 points [0.5, 9.0].")
    assert section.findings[2].startswith(
        "Against random: at k = 2 influence beats it (difference 3.0 points [2.0, 4.0], q = 0.010); "
    )
    assert "at k = 2 no difference is shown (difference 0.2 points" in section.findings[3]
    assert "at k = 4 influence is worse (difference −3.0 points [−4.0, −2.0]" in section.findings[3]


def test_where_seeds_disagree_in_sign_nothing_is_claimed() -> None:
    frame = differences({("random", 2): (3.0, 0.01)}).assign(signs_agree=False)
    section = removal(numbers_with(removal_drops=drops(), removal_differences=frame))
    assert section is not None
    assert "not shown to beat any control" in section.findings[0]
    assert section.findings[2].endswith("q = 0.010, but seeds disagree in sign).")
    assert "at k = 2 no difference is shown" in section.findings[2]


def test_where_influence_beats_nothing_that_comes_first() -> None:
    section = made({("random", 2): (0.2, 0.8), ("bm25", 2): (-0.2, 0.8)})
    assert section.findings[0] == (
        "Influence is not shown to beat any control (random and bm25) at any k."
    )


def test_without_an_interval_nothing_is_claimed() -> None:
    section = made({("random", 2): (3.0, np.nan)})
    assert "not shown to beat any control" in section.findings[0]
    assert "at k = 2 not tested, as there is no interval" in section.findings[2]
    table = next(part for part in section.parts if isinstance(part, Table))
    assert table.rows[0] == ["random, k = 2", "3.0 [–]", "–", "–"]
    assert table.note


def test_the_drops_are_drawn_and_in_the_tables() -> None:
    section = made({("random", 2): (3.0, 0.01)})
    (figure,) = section.figures
    drawn = {(row["panel"], row["row"]): row["mean"] for row in rows_of_chart(figure.chart)}
    assert drawn["k = 4", "influence"] == pytest.approx(8.0)
    assert len(drawn) == 6, "all test examples, the predicted class"
    assert {"k = 2", "k = 4", "influence"} <= set(texts(to_svg(figure.chart)))
    tables = next(part.tables for part in section.parts if isinstance(part, Folded))
    assert [table.header for table in tables[:3]] == [["Removed by", "k = 2", "k = 4"]] * 3
    assert tables[0].rows[0] == ["influence", "4.0 [0.5, 9.0]", "8.0 [0.5, 9.0]"]
    assert tables[3].rows == [["random, k = 2", "3.0 [2.0, 4.0]*", "–", "–"]], "by test language"


def test_without_the_check_there_is_no_section() -> None:
    assert removal(numbers_with()) is None
