"""Charts of courses and intervals: every language has its panel, chance is drawn, gaps stay gaps."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from chart_reader import TAGS, rows_of_chart, texts

from sprachbund.report.drawing import balanced_columns, to_svg
from sprachbund.report.dynamics_chart import CROSS, OWN, dynamics_chart
from sprachbund.report.interval_charts import interval_chart
from sprachbund.report.languages import language_label
from sprachbund.report.line_charts import accuracy_chart, share_by_k_chart


@pytest.mark.parametrize(("n_languages", "n_seeds"), [(1, 1), (2, 3), (18, 2)])
def test_every_language_has_its_panel_of_accuracy(n_languages: int, n_seeds: int) -> None:
    values = np.random.default_rng(0).uniform(0, 1, (n_seeds, 4, n_languages))
    steps = [0, 5, 10, 15]
    accuracy = xr.DataArray(
        values,
        coords={"seed": range(n_seeds), "checkpoint": steps, "language": TAGS[:n_languages]},
        dims=("seed", "checkpoint", "language"),
    )
    epochs = xr.DataArray([0.0, 0.5, 1.0, 1.5], coords={"checkpoint": steps})
    chart = accuracy_chart(accuracy, epochs, 3, "")
    found = texts(to_svg(chart))
    assert [t for t in found if t in map(language_label, TAGS)] == [
        language_label(tag) for tag in TAGS[:n_languages]
    ]
    seeds_are_drawn = len(chart.to_dict()["spec"]["layer"]) == 3
    assert seeds_are_drawn == (n_seeds > 1)


def shares(own: list[float], chance: float) -> pd.DataFrame:
    frame = pd.DataFrame({"panel": "en English", "epoch": range(len(own)), "mean": own})
    frame = frame.assign(low=frame["mean"] - 1, high=frame["mean"] + 1, chance=chance, series=OWN)
    cross = frame.assign(
        mean=100 - frame["mean"], low=100 - frame["high"], high=100 - frame["low"],
        chance=100 - chance, series=CROSS,
    )  # fmt: skip
    return pd.concat([frame, cross], ignore_index=True)


def learning(loss: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "panel": "en English",
            "measure": "loss",
            "epoch": range(len(loss)),
            "mean": loss,
            "low": [np.nan, *(value - 0.1 for value in loss[1:])],
            "high": [np.nan, *(value + 0.1 for value in loss[1:])],
        }
    )


def test_both_shares_lie_above_the_loss_on_one_axis_of_epochs() -> None:
    chart = dynamics_chart(shares([30.0, 25.0], 20.0), learning([2.0, 1.0]), "")
    panels = chart.to_dict()["concat"][0]["vconcat"]
    titles = [panel["layer"][-1]["encoding"]["y"]["title"] for panel in panels]
    assert titles == ["Others, %", "Own, %", "Loss, nats"]
    others, own = (panel["layer"][-1]["encoding"]["y"]["scale"]["domain"] for panel in panels[:2])
    assert others == pytest.approx([100 - own[1], 100 - own[0]]), "a step means as much in both"
    assert own[0] < 20 < 30 < own[1], "chance and every mean are in the panel"
    named = [panel["layer"][-1]["encoding"]["x"]["axis"].get("title") for panel in panels]
    assert named == [None, None, "Epoch"]


def test_a_limit_that_is_not_known_is_no_number_in_the_chart() -> None:
    chart = dynamics_chart(shares([30.0, 25.0], 20.0), learning([2.0, 1.0]), "")
    losses = [row for row in rows_of_chart(chart) if row["series"] == "Loss"]
    assert [row["low"] for row in losses] == [None, 0.9]
    assert losses[0]["estimate"] == "2.000 [–]"
    to_svg(chart)


def test_the_share_by_k_is_drawn_at_each_k() -> None:
    table = pd.DataFrame({"k": [10, 25], "mean": [40.0, 30.0], "low": 20.0, "high": 50.0})
    table = table.assign(chance=20.0, series="Own language", estimate="")
    found = texts(to_svg(share_by_k_chart(table, "")))
    assert {"10", "25"} <= set(found)


def test_an_unbounded_interval_reaches_the_border_and_no_farther() -> None:
    table = pd.DataFrame(
        {
            "panel": "en English",
            "row": ["none", "loss"],
            "mean": [1.5, 1.2],
            "low": [1.1, -np.inf],
            "high": [2.0, np.inf],
            "chance": 1.0,
            "estimate": "",
        }
    )
    rows = rows_of_chart(interval_chart(table, "Lift", ""))
    assert rows[1]["low"] == pytest.approx(0.95)
    assert rows[1]["high"] == pytest.approx(2.05)


@pytest.mark.parametrize(
    ("n", "most", "columns"), [(1, 4, 1), (4, 4, 4), (5, 4, 3), (6, 4, 3), (18, 5, 5)]
)
def test_rows_of_panels_are_of_like_length(n: int, most: int, columns: int) -> None:
    assert balanced_columns(n, most) == columns
