"""The section on parts of the model names the groups that prefer a language, and what they contribute."""

import numpy as np
import pandas as pd
from chart_reader import rows_of_chart, texts
from made_up_report import made_up, numbers_with

from sprachbund.report import Results
from sprachbund.report.drawing import to_svg
from sprachbund.report.numbers import Numbers
from sprachbund.report.section import Folded, Reading, Section
from sprachbund.report.sections.parameter_groups import parameter_groups
from sprachbund.report.tables import Table


def groups(
    head: float, layer: float, contribution: tuple[float, float] = (0.3, 0.1)
) -> pd.DataFrame:
    """Shares of the own language by group, certain to ten points, where chance is 50%."""
    rows = [
        {
            "group": group, "test_language": test, "train_language": train,
            "mean": own if test == train else 100 - own, "expected_percent": 50.0,
            "contribution": part if test == train else 0.0,
        }
        for group, own, part in (("layer 0", layer, contribution[0]), ("head", head, contribution[1]))
        for test in ("en", "de")
        for train in ("en", "de")
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame.assign(
        low=frame["mean"] - 10,
        high=frame["mean"] + 10,
        contribution_low=frame["contribution"] - 0.2,
        contribution_high=frame["contribution"] + 0.2,
    )


def made(frame: pd.DataFrame) -> Section:
    section = parameter_groups(numbers_with(share_by_parameter_group=frame))
    assert section is not None
    return section


def test_the_group_that_prefers_the_own_language_most_is_named() -> None:
    section = made(groups(head=55, layer=80))
    assert (
        "own-language lift is highest in “layer 0”, from 1.60 [1.40, 1.80]" in section.findings[0]
    )
    assert "in all 2 languages (2 above, 0 below); lowest in “head”" in section.findings[0]
    assert section.findings[0].endswith("in none of the 2 languages.")
    assert "“layer 0” contributes most: 75.0% of it" in section.findings[1]
    assert section.findings[1].endswith("excludes 0 in all 2 languages (2 above, 0 below).")
    table = next(part for part in section.parts if isinstance(part, Table))
    assert table.rows == [
        ["layer 0", "1.60", "2 of 2", "0.300", "75.0%"],
        ["head", "1.10", "0 of 2", "0.100", "25.0%"],
    ]


def test_how_far_a_groups_part_differs_by_language_is_said() -> None:
    frame = groups(head=55, layer=80)
    english = (frame["test_language"] == "en") & (frame["group"] == "head")
    frame.loc[english & (frame["train_language"] == "en"), "contribution"] = 0.3
    assert "from 50.0% (en English) to 75.0% (de German) by language" in made(frame).findings[1]
    frame.loc[english, "contribution"] = -1.0
    assert "by language" not in made(frame.replace({"contribution": {0.1: 1.5}})).findings[1]


def test_groups_without_a_preference_are_said_to_show_none() -> None:
    section = made(groups(head=52, layer=49))
    assert section.findings[0].endswith("so that no effect of any group is shown.")


def test_a_part_of_nothing_is_a_dash() -> None:
    section = made(groups(head=52, layer=49, contribution=(-0.3, 0.1)))
    assert section.findings[1].startswith("The mean influence is not above 0")
    table = next(part for part in section.parts if isinstance(part, Table))
    assert table.rows[0] == ["layer 0", "0.98", "0 of 2", "−0.300", "–"]
    frame = groups(52, 49)
    frame[["contribution", "contribution_low", "contribution_high"]] = np.nan
    folded = next(part for part in made(frame).parts if isinstance(part, Folded))
    assert folded.tables[0].rows[0][1] == "0.98 [0.78, 1.18]; –"


def test_every_group_of_every_language_is_drawn() -> None:
    (figure,) = made(groups(head=55, layer=80)).figures
    assert {(row["panel"], row["row"]) for row in rows_of_chart(figure.chart)} == {
        (panel, group) for panel in ("en English", "de German") for group in ("layer 0", "head")
    }
    assert "layer 0" in texts(to_svg(figure.chart))


def test_zero_shot_languages_alone_are_followed_from_their_strongest_language() -> None:
    frame = groups(80, 80).replace({"test_language": {"en": "ko", "de": "he"}})
    data = made_up(("en", "de"), ("ko", "he"), k=3)
    strongest = Numbers(data).proponents.reset_index(drop=True)
    korean = strongest[strongest["test_language"] == "ko"]
    lift = korean["mean"] / korean["expected_percent"]
    train = korean.loc[lift.idxmax(), "train_language"]
    tables = Results({"share_by_parameter_group": frame})
    section = parameter_groups(Numbers(made_up(("en", "de"), ("ko", "he"), k=3, results=tables)))
    assert section is not None
    assert "lift of the strongest training language" in section.findings[0]
    assert {row["panel"] for row in rows_of_chart(section.figures[0].chart)} >= {
        f"ko Korean from {train}"
    }


def test_what_the_groups_of_embeddings_hold_is_said_where_there_are_any() -> None:
    named = groups(80, 80).replace({"group": {"layer 0": "embeddings: other"}})
    (said,) = (part.text for part in made(named).parts if isinstance(part, Reading))
    assert "“embeddings: other” is all else before the layers: the other sub-words, special" in said
    (plain,) = (part.text for part in made(groups(80, 80)).parts if isinstance(part, Reading))
    assert "sub-words" not in plain


def test_without_a_decomposition_there_is_no_section() -> None:
    assert parameter_groups(numbers_with()) is None
