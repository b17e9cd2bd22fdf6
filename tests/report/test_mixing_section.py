"""The section on other mixes says what each language adds, and admits it where that is nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
from chart_reader import rows_of_chart, texts
from made_up_report import numbers_with
from page_reader import read_page

from sprachbund.report import write_report
from sprachbund.report.drawing import to_svg
from sprachbund.report.section import Folded, Heading, Section
from sprachbund.report.sections.mixing import mixing
from sprachbund.report.tables import Table

TAGS = ("en", "de", "ko")


def estimates(rows: list[dict[str, object]], reach: float = 1.0) -> pd.DataFrame:
    """Rows with a mean, certain to `reach`, that differ from 0 where they are greater than that."""
    frame = pd.DataFrame(rows)
    q_value = np.where(frame["mean"].abs() > reach, 0.01, 0.5)
    return frame.assign(low=frame["mean"] - reach, high=frame["mean"] + reach, q_value=q_value)


def accuracy() -> pd.DataFrame:
    rows = [
        {"mix": mix, "test_language": tag, "mean": 60.0}
        for mix in ("study", "without-en", "en-x2")
        for tag in TAGS
    ]
    return estimates(rows)


def contributions(**changes: float) -> pd.DataFrame:
    """Points that English and German add to each language; by default next to nothing."""
    rows = [
        {
            "left_out": left_out,
            "test_language": tag,
            "mean": changes.get(f"{left_out}_{tag}", 0.1),
        }
        for left_out in ("en", "de")
        for tag in TAGS
    ]
    return estimates(rows)


def factors() -> pd.DataFrame:
    rows = [
        {
            "language": language, "factor": factor, "mix": f"{language}-x{factor:g}", "test_language": tag,
            "mean": 2.0 * (factor - 1) if tag == language else 0.0,
        }
        for language in ("en", "de")
        for factor in (0.5, 1.0, 2.0)
        for tag in TAGS
    ]  # fmt: skip
    return estimates(rows)


def own_shares() -> pd.DataFrame:
    rows = [
        {
            "mix": mix, "test_language": tag, "mean": part + above, "expected_percent": part,
            "lift": (part + above) / part,
        }
        for tag in ("en", "de")
        for mix, part, above in ((f"{tag}-x0.5", 25.0, 25.0), ("study", 50.0, 0.0))
    ]  # fmt: skip
    return estimates(rows)


def made(**tables: pd.DataFrame) -> Section:
    section = mixing(numbers_with(mixing_accuracy=accuracy(), **tables))
    assert section is not None
    return section


def finding(section: Section, heading: str) -> str:
    return next(p.finding for p in section.parts if isinstance(p, Heading) and p.text == heading)


def tables_of(section: Section) -> list[Table]:
    return [table for part in section.parts if isinstance(part, Folded) for table in part.tables]


def test_what_languages_add_is_said_with_its_interval() -> None:
    section = made(mixing_contributions=contributions(en_ko=4.0, en_en=6.0, de_en=-3.0))
    assert "excludes 0 in 3 of the 6 language pairs (2 above, 1 below)." in section.findings[0]
    assert section.findings[1] == (
        "To another language, most: en English to ko Korean, 4.0 points [3.0, 5.0]; "
        "least: de German to en English, −3.0 points [−4.0, −2.0]."
    )
    assert section.findings[2].startswith(
        "To itself a language adds from 0.1 points [−0.9, 1.1] (de German) to 6.0 points"
    )
    table = tables_of(section)[0]
    assert table.header == ["Test language", "en English", "de German"]
    assert table.rows[0] == ["en English", "6.0 [5.0, 7.0]*", "−3.0 [−4.0, −2.0]*"]
    assert table.rows[2] == ["ko Korean", "4.0 [3.0, 5.0]*", "0.1 [−0.9, 1.1]"]


def test_what_remains_after_correction_for_the_number_of_pairs_is_said() -> None:
    added = contributions(en_ko=4.0, en_en=6.0).assign(q_value=[0.04, *[0.3] * 5])
    said = made(mixing_contributions=added).findings[0]
    assert said.endswith(
        "At a false discovery rate of 5% an effect is shown in 1 of the 6 language pairs."
    )
    split = made(mixing_contributions=added.assign(signs_agree=False)).findings[0]
    assert split.endswith("an effect is shown in none of the 6 language pairs."), "seeds disagree"


def test_the_matrix_marks_what_excludes_zero_and_speaks_of_points() -> None:
    section = made(mixing_contributions=contributions(en_ko=4.0, de_en=-3.0))
    (figure,) = section.figures
    drawn = texts(to_svg(figure.chart))
    assert drawn.count("●") == 2
    assert {"+4.0", "−3.0", "Language left out", "Points above or below 0"} <= set(drawn)
    marked = {(r["test"], r["train"]) for r in rows_of_chart(figure.chart) if r["marked"]}
    assert marked == {("ko Korean", "en English"), ("en English", "de German")}
    assert "Chance" not in str(figure.chart.to_dict()), (
        "a difference of accuracy has no chance level"
    )


def test_languages_that_add_nothing_are_said_to() -> None:
    section = made(mixing_contributions=contributions())
    assert "in none of the 6 language pairs: no effect is shown." in section.findings[0]


def test_where_mixes_are_right_alike_there_is_a_dash() -> None:
    added = contributions()
    added.loc[0, ["low", "high"]] = np.nan
    added.loc[1, "mean"] = np.nan
    table = tables_of(made(mixing_contributions=added))[0]
    assert table.rows[0][1] == "0.1 [–]"
    assert table.rows[1][1] == "–"


def test_more_of_a_language_leaves_the_study_itself_out() -> None:
    section = made(mixing_factors=factors())
    said = finding(section, "More or less of a language")
    assert "in 2 of the 12 cells (2 above, 0 below)" in said
    assert "In the language itself, with 2 times its examples: from 2.0 points [1.0, 3.0]" in said
    (figure,) = section.figures
    assert {"0.5 times", "2 times"} <= set(texts(to_svg(figure.chart)))
    rows = [row[0] for row in tables_of(section)[0].rows]
    assert rows == [
        f"{tag}, {n} times" for tag in ("en English", "de German") for n in ("0.5", "2")
    ]
    assert section.findings[0].startswith("Mixes beside the study’s own: 2.")


def test_pairs_are_compared_with_the_better_alone() -> None:
    rows = [{"pair": "en+de", "test_language": tag, "mean": 3.0 * (tag == "ko")} for tag in TAGS]
    section = made(mixing_pairs=estimates(rows))
    said = finding(section, "Two languages against the better one alone")
    assert "excludes 0 in 1 of the 3 cells (1 above, 0 below)" in said
    assert said.endswith("is that of en+de for ko Korean, 3.0 points [2.0, 4.0].")


def test_own_language_shares_stand_against_their_proportion_of_the_data() -> None:
    section = made(mixing_own_share=own_shares())
    said = finding(section, "Own-language share and proportion of the data")
    assert "part of the data in 2, below it in 0 of 4 cells" in said
    assert "The lift is 2.00 (25.0% of the data) where" in said
    assert "1.00 (50.0% of the data) where it has its largest" in said
    (figure,) = section.figures
    assert {"Part of the data, %", "de German"} <= set(texts(to_svg(figure.chart)))
    assert tables_of(section)[0].rows[0] == [
        "en English, en-x0.5", "25.0%", "50.0% [49.0, 51.0]", "2.00"
    ]  # fmt: skip


def test_the_page_has_the_section_with_its_headings_and_figures(tmp_path: Path) -> None:
    tables = {"mixing_contributions": contributions(), "mixing_own_share": own_shares()}
    data = numbers_with(mixing_accuracy=accuracy(), **tables).data
    page = read_page(write_report(tmp_path / "report.html", data).read_text(encoding="utf-8"))
    section = page.one("section", id="mixing")
    assert [heading.text for heading in section.all("h3")] == [
        "Own-language share and proportion of the data"
    ]
    assert len(section.all("svg")) == 2
    assert not page.all("section", id="removal")


def test_without_mixes_there_is_no_section() -> None:
    assert mixing(numbers_with()) is None
