"""The course of fine-tuning: whose examples are relied on, above what has been learned by then."""

import altair as alt
import numpy as np
import pandas as pd

from sprachbund.report.drawing import balanced_columns, styled
from sprachbund.report.line_charts import CROSS_COLOUR, OWN_COLOUR, band_panel
from sprachbund.report.rows import estimates_of

OWN, CROSS = "own language", "other languages"
_SERIES = {CROSS: ("Others, %", CROSS_COLOUR), OWN: ("Own, %", OWN_COLOUR)}
_LEAST_SPAN_POINTS = 12.0
_LEARNING = {
    "accuracy_percent": ("Accuracy, %", "Accuracy", 1, "%"),
    "loss": ("Loss, nats", "Loss", 3, ""),
}
_COLUMNS = 4
_INK = "#7d766b"  # legible on light and dark grounds


def dynamics_chart(
    shares: pd.DataFrame, learning: pd.DataFrame, description: str
) -> alt.ConcatChart:
    """One column of panels for each value of `panel`: the two shares, accuracy and loss by epoch.

    `shares` has the columns panel, series (own language or other languages), epoch, mean, low, high
    and chance, percent; `learning` has panel, measure, epoch, mean, low and high, or no row.
    """
    panels = list(dict.fromkeys(shares["panel"]))
    columns = [
        alt.vconcat(
            *_share_panels(shares, panel),
            *_learning_panels(learning, panel),
            spacing=8,
            title=alt.TitleParams(panel, fontWeight="bold", fontSize=13),
        )
        for panel in panels
    ]
    n_columns = balanced_columns(len(panels), _COLUMNS)
    together = alt.concat(*columns, columns=n_columns, spacing=22, description=description)
    return styled(together)


def _share_panels(shares: pd.DataFrame, panel: str) -> list[alt.LayerChart]:
    charts = []
    for series, (title, colour) in _SERIES.items():
        everywhere = shares[shares["series"] == series]
        table = everywhere[everywhere["panel"] == panel].drop(columns="panel")
        shown = table.assign(estimate=estimates_of(table))
        scale = alt.Scale(domain=_domain(everywhere), nice=False)
        y = alt.Y("mean:Q", title=title, scale=scale).axis(tickCount=3)
        chart = band_panel(shown, _epoch(last=False), y, alt.ColorValue(colour), "Share")
        charts.append(chart.properties(height=80))
    return charts


def _domain(table: pd.DataFrame) -> list[float]:
    """From the least to the greatest mean or chance, with a margin: the same points for both shares."""
    values = table[["mean", "chance"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = max(0.2 * (high - low), (_LEAST_SPAN_POINTS - (high - low)) / 2)
    return [max(0.0, low - margin), min(100.0, high + margin)]


def _learning_panels(learning: pd.DataFrame, panel: str) -> list[alt.LayerChart]:
    here = learning[learning["panel"] == panel]
    measures = [name for name in _LEARNING if name in set(here["measure"])]
    charts = []
    for measure in measures:
        title, name, digits, unit = _LEARNING[measure]
        everywhere = learning[learning["measure"] == measure]
        top = 100.0 if measure == "accuracy_percent" else float(everywhere["mean"].max()) * 1.15
        table = here[here["measure"] == measure]
        shown = table.assign(
            chance=float("nan"),
            series=name,
            estimate=estimates_of(table, digits, unit),
        ).drop(columns=["panel", "measure"])
        y = alt.Y("mean:Q", title=title, scale=alt.Scale(domain=[0, top])).axis(tickCount=3)
        chart = band_panel(
            shown, _epoch(last=measure == measures[-1]), y, alt.ColorValue(_INK), name
        )
        charts.append(chart.properties(height=70))
    return charts


def _epoch(*, last: bool) -> alt.X:
    """The axis of epochs, which only the lowest panel of a column names."""
    x = alt.X("epoch:Q", title="Epoch")
    return x.axis(tickMinStep=1, grid=False, labels=last, title="Epoch" if last else None)
