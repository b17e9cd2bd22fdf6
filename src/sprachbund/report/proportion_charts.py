"""Shares against the proportion of the data, one point a mix: what lies off the diagonal is not chance."""

import altair as alt
import pandas as pd

from sprachbund.report.drawing import INK, in_panels
from sprachbund.report.line_charts import OWN_COLOUR

_COLUMNS = 5
_SIDE = 150


def proportion_chart(table: pd.DataFrame, description: str) -> alt.FacetChart:
    """One panel for each value of `panel`, with a point and its interval for each mix; chance is the dashed diagonal.

    `table` has the columns panel, mix, mean, low, high, chance (the proportion of the data)
    and estimate (the text shown on pointing).
    """
    highest = float(table[["mean", "chance"]].to_numpy(dtype=float).max())
    scale = alt.Scale(domain=[0, min(100.0, 1.1 * highest)], nice=False)
    base = alt.Chart(table).encode(
        alt.X("chance:Q", title="Part of the data, %", scale=scale).axis(tickCount=4, grid=False)
    )
    y = alt.Y("mean:Q", title="Own share, %", scale=scale).axis(tickCount=4)
    diagonal = base.mark_line(aria=False, strokeDash=[4, 3], color=INK, opacity=0.7, tooltip=None)
    line = base.mark_rule(aria=False, color=OWN_COLOUR, opacity=0.6, clip=True, tooltip=None)
    point = base.mark_point(aria=False, color=OWN_COLOUR, filled=True, size=50, opacity=1)
    tooltip = [
        alt.Tooltip("mix:N", title="Mix"),
        alt.Tooltip("estimate:N", title="Own share [95% interval]"),
        alt.Tooltip("chance:Q", title="Part of the data, %", format=".1f"),
    ]
    layers = [
        diagonal.encode(alt.Y("chance:Q", title="Own share, %", scale=scale)),
        line.encode(alt.Y("low:Q", title="Own share, %", scale=scale), alt.Y2("high:Q")),
        point.encode(y, tooltip=tooltip),
    ]
    return in_panels(
        alt.layer(*layers, width=_SIDE, height=_SIDE), table["panel"], _COLUMNS, description
    )
