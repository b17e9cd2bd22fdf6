"""How charts are styled and saved.

Text and lines are drawn in `currentColor`, so that a chart set into a page follows its colour scheme
and a saved SVG is black on transparent.
"""

from pathlib import Path
from typing import Any, TypeVar

import altair as alt
import pandas as pd
import vl_convert

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
INK = "currentColor"
Drawn = alt.VConcatChart | alt.FacetChart | alt.ConcatChart | alt.LayerChart
_Chart = TypeVar("_Chart", alt.VConcatChart, alt.FacetChart, alt.ConcatChart, alt.LayerChart)


def styled(chart: _Chart) -> _Chart:
    """The chart with the typography and colours of every chart here."""
    lines = {"domainColor": INK, "tickColor": INK, "domainOpacity": 0.4, "tickOpacity": 0.4}
    labels = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12}
    config = {
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            **labels, **lines, "titleFontWeight": "normal", "gridColor": INK, "gridOpacity": 0.12,
        },
        "legend": {**labels, "titleFontWeight": "normal"},
        "header": {"labelColor": INK, "titleColor": INK, "labelFontWeight": "bold"},
        "title": {"color": INK, "fontSize": 12, "fontWeight": "normal", "anchor": "start"},
    }  # fmt: skip
    # All at once: each configure_... method of Altair copies the whole chart.
    return chart.properties(background="transparent", config=config)


def balanced_columns(n_panels: int, most: int) -> int:
    """How many columns leave no row of panels much shorter than the others."""
    n_rows = -(-n_panels // most)
    return -(-n_panels // n_rows)


def in_panels(
    chart: alt.LayerChart | alt.FacetChart, by: "pd.Series[str]", most: int, description: str
) -> alt.FacetChart:
    """One panel for each value of a column of the data, in its order, at most so many in a row."""
    order = list(dict.fromkeys(by))
    header = alt.Header(labelFontSize=13)
    panels = chart.facet(
        facet=alt.Facet(f"{by.name}:N", sort=order, title=None, header=header),
        columns=balanced_columns(len(order), most),
        spacing=18,
        description=description,
    )
    apart: alt.FacetChart = panels.resolve_axis(x="independent")
    return styled(apart)


def to_svg(chart: alt.TopLevelMixin) -> str:
    """The chart as SVG text, without a browser and without the network."""
    return svg_of(chart.to_dict())


def svg_of(specification: dict[str, Any]) -> str:
    """The same, of a Vega-Lite specification."""
    return str(vl_convert.vegalite_to_svg(specification, allowed_base_urls=[]))


def save_chart(chart: alt.TopLevelMixin, path: Path) -> None:
    """Write a chart as .svg, .png (at 300 dots an inch) or .json (the Vega-Lite specification)."""
    if path.suffix == ".svg":
        path.write_text(to_svg(chart), encoding="utf-8")
    elif path.suffix == ".png":
        image = vl_convert.vegalite_to_png(
            _on_white(chart.to_dict()), scale=300 / 72, ppi=72, allowed_base_urls=[]
        )
        path.write_bytes(image)
    elif path.suffix == ".json":
        path.write_text(chart.to_json(indent=1), encoding="utf-8")
    else:
        raise ValueError(f'{path}: a chart is saved as .svg, .png or .json, not as "{path.suffix}"')


def _on_white(specification: dict[str, Any]) -> dict[str, Any]:
    return {**specification, "background": "white"}
