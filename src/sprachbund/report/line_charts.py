"""Line charts over epochs or k: estimates with bands of their intervals, and accuracy by seed."""

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from sprachbund.report.drawing import INK, in_panels, styled
from sprachbund.report.languages import language_label

OWN_COLOUR, CROSS_COLOUR = "#c2600a", "#2b7bba"
_PANEL_COLUMNS = 5
_WIDTH = 150


def band_panel(
    table: pd.DataFrame, x: alt.X, y: alt.Y, colour: alt.Color | alt.ColorValue, name: str
) -> alt.LayerChart:
    """Lines with bands; chance dashed.

    `table` has the column of `x`, and series, mean, low, high and chance (NaN where there is none);
    `y` is how the mean is shown.
    """
    base = alt.Chart(table).encode(x, color=colour)
    title, scale = y["title"], y["scale"]
    band = base.mark_area(aria=False, opacity=0.18, clip=True, tooltip=None).encode(
        alt.Y("low:Q", title=title, scale=scale), alt.Y2("high:Q")
    )
    line = base.mark_line(aria=False, strokeWidth=2.5, point={"size": 36}).encode(
        y,
        tooltip=[
            alt.Tooltip("series:N", title=" "),
            alt.Tooltip(x["shorthand"], title=x["title"]),
            alt.Tooltip("estimate:N", title=f"{name} [95% interval]"),
        ],
    )
    layers = [band, line]
    if table["chance"].notna().any():
        dashes = base.mark_line(aria=False, strokeDash=[4, 3], opacity=0.8, tooltip=None)
        layers.insert(0, dashes.encode(alt.Y("chance:Q", title=title, scale=scale)))
    return alt.LayerChart(layer=layers, width=_WIDTH)


def share_by_k_chart(table: pd.DataFrame, description: str) -> alt.LayerChart:
    """Own-language share of the top k by k, with its band; chance dashed."""
    x = alt.X("k:Q", title="k", scale=alt.Scale(type="log", nice=False)).axis(
        values=table["k"].tolist(), format="d", grid=False
    )
    top = float(np.nanmax(table[["mean", "high", "chance"]].to_numpy(dtype=float)))
    y = alt.Y("mean:Q", title="Own share, %", scale=alt.Scale(domain=[0, min(100, top * 1.1)]))
    chart = band_panel(table, x, y.axis(tickCount=4), alt.ColorValue(OWN_COLOUR), "Own share")
    return styled(chart.properties(width=300, height=140, description=description))


def accuracy_chart(
    accuracy: xr.DataArray, epochs: xr.DataArray, n_labels: int, description: str
) -> alt.FacetChart:
    """Accuracy by epoch, one panel a language; the dashed line is a guess among the labels.

    `accuracy` [seed, checkpoint, language], a fraction; `epochs` [checkpoint]. Seeds are thin
    lines, their mean is bold.
    """
    table = _panel_table(accuracy, epochs)
    table["chance"] = 1 / n_labels
    scale = alt.Scale(domain=[0, 1])
    x = alt.X("epoch:Q", title="Epoch").axis(tickMinStep=1, grid=False)
    y = alt.Y("value:Q", title="Accuracy", scale=scale).axis(tickCount=4, format=".0%")
    mean = alt.Y("mean(value):Q", title="Accuracy", scale=scale).axis(tickCount=4, format=".0%")
    base = alt.Chart(table.drop(columns=["order"]))
    chance = base.mark_rule(aria=False, strokeDash=[4, 3], color=INK, opacity=0.7)
    guess = alt.Y("mean(chance):Q", title="Accuracy", scale=scale)
    layers: list[alt.Chart] = [chance.encode(y=guess)]
    if table["seed"].nunique() > 1:
        seeds = base.mark_line(aria=False, strokeWidth=1, opacity=0.45, color=OWN_COLOUR)
        layers.append(seeds.encode(x, y, detail="seed:N"))
    bold = base.mark_line(
        aria=False, strokeWidth=2.5, color=OWN_COLOUR, point={"color": OWN_COLOUR, "size": 36}
    )
    tooltip = [
        alt.Tooltip("language:N", title="Language"),
        alt.Tooltip("epoch:Q", title="Epoch"),
        alt.Tooltip("mean(value):Q", title="Accuracy", format=".1%"),
    ]
    layers.append(bold.encode(x, mean, tooltip=tooltip))
    return in_panels(
        alt.layer(*layers, width=_WIDTH + 10, height=120),
        table["language"],
        _PANEL_COLUMNS,
        description,
    )


def _panel_table(values: xr.DataArray, epochs: xr.DataArray) -> pd.DataFrame:
    table = values.rename("value").to_dataframe().reset_index().dropna(subset="value")
    order = {tag: position for position, tag in enumerate(values["language"].values.tolist())}
    return pd.DataFrame(
        {
            "language": [language_label(tag) for tag in table["language"]],
            "order": table["language"].map(order),
            "seed": table["seed"].astype(int),
            "epoch": [float(epochs.sel(checkpoint=step)) for step in table["checkpoint"]],
            "value": table["value"].astype(float).round(6),
        }
    ).sort_values(["order", "seed", "epoch"], ignore_index=True)
