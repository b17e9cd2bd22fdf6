"""What a chart shows: its words as drawn, and the rows of its data."""

import xml.etree.ElementTree as ElementTree
from typing import Any

import altair as alt

TAGS = [
    "en", "de", "fr", "ru", "es", "ko", "ar", "he", "fa", "ur", "zh", "ja", "tr", "sw", "hi", "bn",
    "vi", "th",
]  # fmt: skip


def texts(svg: str) -> list[str]:
    """Every text of a drawing."""
    root = ElementTree.fromstring(svg)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def rows_of_chart(chart: alt.TopLevelMixin) -> list[dict[str, Any]]:
    """The rows of all the data of a chart."""
    return [row for table in chart.to_dict()["datasets"].values() for row in table]
