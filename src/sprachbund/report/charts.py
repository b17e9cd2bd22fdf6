"""Charts: labelled array in, Altair specification out, for the page and for the figures of a paper."""

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from sprachbund.report.drawing import INK, styled
from sprachbund.report.languages import language_label

# Blues of ColorBrewer RdBu, oranges of PuOr: told apart with every common colour vision deficiency.
BELOW_TO_ABOVE = ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fee0b6", "#f1a340", "#b35806")
LINE = "#c2600a"
_DARK_INK = "#000"
# Where on the way to the deepest blue and orange white text has the greater contrast (over 4.5).
WHITE_BEYOND = (-0.9, 0.975)
_SMALLEST_REACH_POINTS = 5.0
_PANEL_COLUMNS = 5
# Vega writes a true minus sign, and "+0" where the colours mean "as expected".
_SIGNED = "datum.value == 0 ? 'chance' : format(datum.value, '+d')"


def sharing_heat_map(
    share: xr.DataArray, chance: xr.DataArray, description: str, reach: float | None = None
) -> alt.VConcatChart:
    """Share of the top k by language pair, coloured by its distance from chance.

    `share` [test_language, train_language] and `chance` [train_language], percent. Test languages
    that are no training languages stand apart below. The own language is outlined. `reach` is the
    distance from chance, in points, with the deepest colour; by default the greatest there is.
    """
    table = _share_table(share, chance)
    reach = colour_reach([share], chance) if reach is None else reach
    trained = table[~table["zero_shot"]]
    zero_shot = table[table["zero_shot"]]
    train = [language_label(str(tag)) for tag in share["train_language"].values]
    parts = [
        _cells(part, train, reach, title, with_axis=first)
        for part, title, first in (
            (trained, "", True),
            (zero_shot, "Zero-shot: not in the fine-tuning data", trained.empty),
        )
        if not part.empty
    ]
    return styled(alt.vconcat(*parts, spacing=14, description=description))


def colour_reach(shares: Sequence[xr.DataArray], chance: xr.DataArray) -> float:
    """Greatest distance from chance, in whole points, so that heat maps may share their colours."""
    farthest = max(float(abs(share - chance).max()) for share in shares)
    # Colours stretched over a point or two would make noise look like a finding.
    return max(_SMALLEST_REACH_POINTS, float(np.ceil(farthest)))


def own_share_chart(
    own: xr.DataArray, epochs: xr.DataArray, chance: xr.DataArray, description: str
) -> alt.FacetChart:
    """Share of each language's proponents that are in that language, by epoch.

    `own` [seed, checkpoint, test_language] and `chance` [train_language] in percent, `epochs`
    [checkpoint]. One panel a language: seeds thin, their mean bold, chance dashed.
    """
    table = _panel_table(own, epochs, "test_language")
    table["chance"] = [float(chance.sel(train_language=tag)) for tag in table["tag"]]
    top = max(float(table["value"].max()), float(table["chance"].max()))
    scale = alt.Scale(domain=[0, min(100.0, top * 1.1)], nice=True)
    return _panels(table, "Own share, %", scale, "d", description)


def accuracy_chart(
    accuracy: xr.DataArray, epochs: xr.DataArray, n_labels: int, description: str
) -> alt.FacetChart:
    """Accuracy by epoch, one panel a language; the dashed line is a guess among the labels.

    `accuracy` [seed, checkpoint, language], a fraction; `epochs` [checkpoint].
    """
    table = _panel_table(accuracy, epochs, "language")
    table["chance"] = 1 / n_labels
    scale = alt.Scale(domain=[0, 1])
    return _panels(table, "Accuracy", scale, ".0%", description)


def _share_table(share: xr.DataArray, chance: xr.DataArray) -> pd.DataFrame:
    trained = set(share["train_language"].values.tolist())
    rows = [
        {
            "test": language_label(test),
            "train": language_label(train),
            "share": round(float(share.sel(test_language=test, train_language=train)), 4),
            "chance": round(float(chance.sel(train_language=train)), 4),
            "own": test == train,
            "zero_shot": test not in trained,
        }
        for test in share["test_language"].values.tolist()
        for train in share["train_language"].values.tolist()
    ]
    table = pd.DataFrame(rows)
    table["difference"] = (table["share"] - table["chance"]).round(4)
    return table


def _cells(
    table: pd.DataFrame, train: list[str], reach: float, title: str, *, with_axis: bool
) -> alt.LayerChart:
    axis = alt.Axis(orient="top", labelAngle=-40, labelLimit=200, title="Training language")
    x = alt.X("train:N", sort=train, axis=axis if with_axis else None)
    y = alt.Y(
        "test:N",
        sort=list(dict.fromkeys(table["test"])),
        title="Test language" if with_axis else None,
    ).axis(labelLimit=200, minExtent=110)
    base = alt.Chart(table).encode(x, y)
    cells = base.mark_rect(aria=False).encode(_distance_colour(reach), tooltip=_tooltip())
    own = base.transform_filter("datum.own").mark_rect(
        aria=False, fillOpacity=0, stroke=_DARK_INK, strokeWidth=2, tooltip=None
    )
    low, high = (reach * part for part in WHITE_BEYOND)
    on_dark = f"datum.difference < {low} || datum.difference > {high}"
    numbers = base.mark_text(aria=False, fontSize=13, tooltip=None).encode(
        text=alt.Text("share:Q", format=".1f" if len(train) > 10 else ".0f"),
        color=alt.when(on_dark).then(alt.value("white")).otherwise(alt.value(_DARK_INK)),
    )
    return alt.LayerChart(
        layer=[cells, own, numbers],
        width=alt.Step(64 if len(train) <= 7 else 44),
        height=alt.Step(34),
        title=title or alt.Undefined,
    )


def _distance_colour(reach: float) -> alt.Color:
    stops = np.linspace(-reach, reach, len(BELOW_TO_ABOVE)).tolist()
    legend = alt.Legend(
        title="Points above or below chance",
        titleLimit=300,
        orient="bottom",
        direction="horizontal",
        gradientLength=180,
        gradientThickness=10,
        values=[-reach, 0, reach],
        labelExpr=_SIGNED,
    )
    scale = alt.Scale(domain=stops, range=list(BELOW_TO_ABOVE))
    return alt.Color("difference:Q", scale=scale, legend=legend)


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("test:N", title="Test language"),
        alt.Tooltip("train:N", title="Training language"),
        alt.Tooltip("share:Q", title="Share, %", format=".1f"),
        alt.Tooltip("chance:Q", title="Chance, %", format=".1f"),
        alt.Tooltip("difference:Q", title="Difference, points", format="+.1f"),
    ]


def _panel_table(values: xr.DataArray, epochs: xr.DataArray, language: str) -> pd.DataFrame:
    table = values.rename("value").to_dataframe().reset_index().dropna(subset="value")
    order = {tag: position for position, tag in enumerate(values[language].values.tolist())}
    return pd.DataFrame(
        {
            "tag": table[language],
            "language": [language_label(tag) for tag in table[language]],
            "order": table[language].map(order),
            "seed": table["seed"].astype(int),
            "epoch": [float(epochs.sel(checkpoint=step)) for step in table["checkpoint"]],
            "value": table["value"].astype(float).round(6),
        }
    ).sort_values(["order", "seed", "epoch"], ignore_index=True)


def _panels(
    table: pd.DataFrame, title: str, scale: alt.Scale, number_format: str, description: str
) -> alt.FacetChart:
    x = alt.X("epoch:Q", title="Epoch").axis(tickMinStep=1, grid=False)
    y = alt.Y("value:Q", title=title, scale=scale).axis(tickCount=4, format=number_format)
    mean = alt.Y("mean(value):Q", title=title, scale=scale)
    sort = list(dict.fromkeys(table["language"]))
    base = alt.Chart(table.drop(columns=["tag", "order"]))
    chance = base.mark_rule(aria=False, strokeDash=[4, 3], color=INK, opacity=0.7)
    layers: list[alt.Chart] = [chance.encode(y=alt.Y("mean(chance):Q", title=title, scale=scale))]
    if table["seed"].nunique() > 1:
        seeds = base.mark_line(aria=False, strokeWidth=1, opacity=0.45, color=LINE)
        layers.append(seeds.encode(x, y, detail="seed:N"))
    bold = base.mark_line(
        aria=False, strokeWidth=2.5, color=LINE, point={"color": LINE, "size": 36}
    )
    tooltip = [
        alt.Tooltip("language:N", title="Language"),
        alt.Tooltip("epoch:Q", title="Epoch"),
        alt.Tooltip("mean(value):Q", title=title, format=".3~f"),
    ]
    layers.append(bold.encode(x, mean.axis(tickCount=4, format=number_format), tooltip=tooltip))
    facet = alt.Facet("language:N", sort=sort, title=None, header=alt.Header(labelFontSize=13))
    panels = alt.layer(*layers, width=160, height=120).facet(
        facet=facet, columns=_PANEL_COLUMNS, spacing=18, description=description
    )
    apart: alt.FacetChart = panels.resolve_axis(x="independent")
    return styled(apart)
