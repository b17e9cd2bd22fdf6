"""Estimates as points with their intervals, one row each, against chance or another level."""

import altair as alt
import numpy as np
import pandas as pd

from sprachbund.report.drawing import INK, in_panels
from sprachbund.report.line_charts import OWN_COLOUR

_COLUMNS = 4


def interval_chart(
    table: pd.DataFrame, title: str, description: str, level: str = "Chance"
) -> alt.FacetChart:
    """One panel for each value of `panel`, one row for each value of `row`, in the order given.

    `table` has the columns panel, row, mean, low, high, chance and estimate (the text shown on
    pointing). The upright tick is chance, or what else `level` says that this column is.
    """
    shown = table.dropna(subset="mean")
    numbers = shown[["mean", "low", "high", "chance"]].to_numpy(dtype=float)
    finite = numbers[np.isfinite(numbers)]
    bottom, top = float(finite.min()), float(finite.max())
    margin = 0.05 * (top - bottom or 1.0)
    domain = [bottom - margin, top + margin]
    shown = shown.assign(low=shown["low"].clip(*domain), high=shown["high"].clip(*domain))
    y = alt.Y("row:N", sort=list(dict.fromkeys(shown["row"])), title=None)
    scale = alt.Scale(domain=domain, nice=False, zero=False)
    base = alt.Chart(shown).encode(y.axis(labelLimit=200, grid=False))
    chance = base.mark_tick(aria=False, color=INK, opacity=0.75, thickness=2, size=14).encode(
        alt.X("chance:Q", scale=scale, title=title).axis(tickCount=3, labelOverlap="greedy")
    )
    line = base.mark_rule(aria=False, color=OWN_COLOUR, strokeWidth=2).encode(
        alt.X("low:Q", scale=scale, title=title), alt.X2("high:Q")
    )
    point = base.mark_point(aria=False, color=OWN_COLOUR, filled=True, size=60, opacity=1).encode(
        alt.X("mean:Q", scale=scale, title=title), tooltip=_tooltip(level)
    )
    return in_panels(
        alt.layer(chance, line, point, width=170, height=alt.Step(20)),
        shown["panel"],
        _COLUMNS,
        description,
    )


def _tooltip(level: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("panel:N", title=" "),
        alt.Tooltip("row:N", title="  "),
        alt.Tooltip("estimate:N", title="[95% interval]"),
        alt.Tooltip("chance:Q", title=level, format=".3~g"),
    ]
