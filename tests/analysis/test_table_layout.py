"""How tables are set in print: cells, rows, dashes, and what LaTeX would misread."""

import numpy as np
import pandas as pd
import pytest

from sprachbund.analysis.latex import escaped, latex
from sprachbund.analysis.table import Cell, Layout, Table, printed

FRAME = pd.DataFrame(
    {
        "test_language": ["en", "en", "ko", "ko"],
        "train_language": ["de", "en", "de", "en"],
        "mean": [1.25, -0.04, np.nan, 99.96],
        "low": [1.0, np.nan, np.nan, -np.inf],
        "high": [2.0, np.nan, np.nan, np.inf],
        "expected": [40.0, 60.0, 40.0, 60.0],
    }
)
ACROSS = Layout(["test_language"], {"x": Cell("mean", "low", "high")}, "train_language", "expected")


def table(layout: Layout, frame: pd.DataFrame = FRAME) -> str:
    return latex(Table("a_name", "50% of A & B_1", frame, layout), layout)


def test_a_matrix_has_a_row_for_each_test_language_and_chance_at_the_foot() -> None:
    shown = printed(Table("a", "b", FRAME), ACROSS)
    assert shown.to_numpy().tolist() == [
        ["en", "1.2 [1.0, 2.0]", "0.0"],
        ["ko", "--", r"100.0 [$-\infty$, $\infty$]"],
        ["chance", "40.0", "60.0"],
    ]


def test_rows_keep_the_order_of_the_data_and_absent_cells_are_dashes() -> None:
    shown = printed(Table("a", "b", FRAME.iloc[[3, 0]]), ACROSS)
    assert shown["test_language"].tolist() == ["ko", "en", "chance"]
    assert shown["de"].tolist() == ["--", "1.2 [1.0, 2.0]", "40.0"]


def test_a_list_has_a_column_for_each_cell() -> None:
    layout = Layout(["test_language", "train_language"], {"mean": Cell("mean", digits=2)})
    assert printed(Table("a", "b", FRAME), layout)["mean"].tolist() == [
        *("1.25", "$-$0.04", "--", "99.96")
    ]


def test_a_star_marks_what_remains_at_the_false_discovery_rate() -> None:
    frame = FRAME.assign(q_value=[0.05, 0.06, np.nan, 0.001])
    cells = {"mean": Cell("mean", "low", "high", q_value="q_value")}
    shown = printed(Table("a", "b", frame), Layout(["test_language", "train_language"], cells))
    assert shown["mean"].tolist() == [
        *("1.2* [1.0, 2.0]", "0.0", "--", r"100.0* [$-\infty$, $\infty$]")
    ]


def test_a_star_needs_seeds_that_agree_in_sign_where_there_is_such_a_column() -> None:
    frame = FRAME.assign(q_value=0.01, signs_agree=[True, False, True, False])
    cell = Cell("expected", q_value="q_value")
    layout = Layout(["test_language", "train_language"], {"x": cell})
    assert printed(Table("a", "b", frame), layout)["x"].tolist() == [
        "40.0*",
        "60.0",
        "40.0*",
        "60.0",
    ]
    # The column of an estimate with a name of its own has that name too.
    change = Cell("expected", q_value="change_q_value")
    renamed = frame.rename(columns={"q_value": "change_q_value"})
    shown = printed(Table("a", "b", renamed), Layout(layout.rows, {"x": change}))["x"].tolist()
    assert all(text.endswith("*") for text in shown), "signs_agree is of another number"
    renamed["change_signs_agree"] = ~frame["signs_agree"]
    shown = printed(Table("a", "b", renamed), Layout(layout.rows, {"x": change}))["x"].tolist()
    assert shown == ["40.0", "60.0*", "40.0", "60.0*"]


def test_latex_is_booktabs_with_its_special_characters_written_out() -> None:
    text = table(ACROSS)
    assert [text.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 1, 1]
    assert r"\caption{50\% of A \& B\_1}" in text
    assert r"\label{tab:a-name}" in text
    assert "test language & de & en" in text


def test_a_long_table_runs_over_pages() -> None:
    frame = pd.concat([FRAME.assign(k=k) for k in range(30)])
    text = table(Layout(["k", "test_language", "train_language"], {"mean": Cell("mean")}), frame)
    assert r"\begin{longtable}" in text


@pytest.mark.parametrize("character", list("&%$#_{}~^\\"))
def test_every_special_character_is_escaped(character: str) -> None:
    assert escaped(f"a{character}b").startswith("a\\")


def test_tables_of_several_studies_have_labels_of_their_own() -> None:
    layout = Layout(["test_language"], {"mean": Cell("mean")})
    given = Table("share_of_k", "a caption", FRAME, layout)
    assert r"\label{tab:share-of-k}" in latex(given, layout)
    assert r"\label{tab:xnli-de-2-share-of-k}" in latex(given, layout, "xnli_de #2")
