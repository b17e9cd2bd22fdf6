"""Heat maps of language pairs: a frame with one row a pair in, Altair specification out."""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd

from sprachbund.report.drawing import styled
from sprachbund.report.formatting import probability
from sprachbund.report.languages import language_label
from sprachbund.report.rows import estimates_of

# Blues of ColorBrewer RdBu, oranges of PuOr: told apart with every common colour vision deficiency.
BELOW_TO_ABOVE = ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fee0b6", "#f1a340", "#b35806")
_DARK_INK = "#000"
# Where on the way to the deepest blue and orange white text has the greater contrast (over 4.5).
WHITE_BEYOND = (-0.9, 0.975)
_SMALLEST_REACH_POINTS = 5.0


@dataclass(frozen=True)
class Pairs:
    """The cells of a heat map: percentages by language pair, and what they are called.

    `frame` has the columns test_language, train_language, mean, low, high, chance and marked; a
    pair whose mean is NaN has no cell. Test languages that are no training languages stand apart.
    `column` says what a training language is here, `level` what the colours set out from;
    `number_format` is that of d3 for the cells, where it is not that of a share.
    """

    frame: pd.DataFrame
    train_languages: Sequence[str]
    name: str = "Share"
    unit: str = "%"
    column: str = "Training language"
    level: str = "chance"
    number_format: str = ""

    @property
    def reach(self) -> float:
        """Greatest distance from chance, in whole points, so that heat maps may share colours."""
        farthest = float((self.frame["mean"] - self.frame["chance"]).abs().max())
        # Colours stretched over a point or two would make noise look like a finding.
        return max(_SMALLEST_REACH_POINTS, float(np.ceil(farthest)))


def heat_map(pairs: Pairs, description: str, reach: float | None = None) -> alt.VConcatChart:
    """Each pair's percentage, coloured by its distance from chance; marked pairs have a dot.

    The own language is outlined. `reach` is the distance from chance, in points, with the deepest
    colour; by default the greatest there is.
    """
    table = _cell_table(pairs)
    trained, zero_shot = table[~table["zero_shot"]], table[table["zero_shot"]]
    train = [language_label(tag) for tag in pairs.train_languages]
    parts = [
        _cells(part, train, pairs, pairs.reach if reach is None else reach, title, with_axis=first)
        for part, title, first in (
            (trained, "", True),
            (zero_shot, "Zero-shot: not in the fine-tuning data", trained.empty),
        )
        if not part.empty
    ]
    return styled(alt.vconcat(*parts, spacing=14, description=description))


def _cell_table(pairs: Pairs) -> pd.DataFrame:
    frame = pairs.frame.dropna(subset="mean")
    return pd.DataFrame(
        {
            "test": frame["test_language"].map(language_label).to_numpy(),
            "train": frame["train_language"].map(language_label).to_numpy(),
            "value": frame["mean"].round(4).to_numpy(),
            "chance": frame["chance"].round(4).to_numpy(),
            "difference": (frame["mean"] - frame["chance"]).round(4).to_numpy(),
            "estimate": estimates_of(frame, unit=pairs.unit),
            "q": [probability(q) for q in frame["q_value"]] if "q_value" in frame else "",
            "marked": frame["marked"].to_numpy(dtype=bool),
            "own": (frame["test_language"] == frame["train_language"]).to_numpy(),
            "zero_shot": ~frame["test_language"].isin(list(pairs.train_languages)).to_numpy(),
        }
    )


def _cells(
    table: pd.DataFrame,
    train: list[str],
    pairs: Pairs,
    reach: float,
    title: str,
    *,
    with_axis: bool,
) -> alt.LayerChart:
    axis = alt.Axis(orient="top", labelAngle=-40, labelLimit=200, title=pairs.column)
    x = alt.X("train:N", sort=train, scale=alt.Scale(domain=train))
    y = alt.Y(
        "test:N",
        sort=list(dict.fromkeys(table["test"])),
        title="Test language" if with_axis else None,
    ).axis(labelLimit=200, minExtent=110)
    base = alt.Chart(table).encode(x.axis(axis if with_axis else None), y)
    cells = base.mark_rect(aria=False).encode(
        _distance_colour(pairs, reach), tooltip=_tooltip(pairs)
    )
    own = base.transform_filter("datum.own").mark_rect(
        aria=False, fillOpacity=0, stroke=_DARK_INK, strokeWidth=2, tooltip=None
    )
    number_format = pairs.number_format or (".1f" if len(train) > 10 else ".0f")
    return alt.LayerChart(
        layer=[cells, own, *_texts(base, reach, number_format)],
        width=alt.Step(64 if len(train) <= 7 else 44),
        height=alt.Step(34),
        title=title or alt.Undefined,
    )


def _texts(base: alt.Chart, reach: float, number_format: str) -> list[alt.Chart]:
    """The numbers in the cells, and the dots of those that are marked."""
    low, high = (reach * part for part in WHITE_BEYOND)
    on_dark = f"datum.difference < {low} || datum.difference > {high}"
    ink = alt.when(on_dark).then(alt.value("white")).otherwise(alt.value(_DARK_INK))
    numbers = base.mark_text(aria=False, fontSize=13, tooltip=None).encode(
        text=alt.Text("value:Q", format=number_format), color=ink
    )
    dots = base.transform_filter("datum.marked").mark_text(
        aria=False, text="●", fontSize=8, dx=17, dy=-10, tooltip=None
    )
    return [numbers, dots.encode(color=ink)]


def _distance_colour(pairs: Pairs, reach: float) -> alt.Color:
    stops = np.linspace(-reach, reach, len(BELOW_TO_ABOVE)).tolist()
    legend = alt.Legend(
        title=f"Points above or below {pairs.level}",
        titleLimit=300,
        orient="bottom",
        direction="horizontal",
        gradientLength=180,
        gradientThickness=10,
        values=[-reach, 0, reach],
        # Vega writes a true minus sign, and "+0" where the colours mean "as expected".
        labelExpr=f"datum.value == 0 ? '{pairs.level}' : format(datum.value, '+d')",
    )
    scale = alt.Scale(domain=stops, range=list(BELOW_TO_ABOVE))
    return alt.Color("difference:Q", scale=scale, legend=legend)


def _tooltip(pairs: Pairs) -> list[alt.Tooltip]:
    shown = [
        alt.Tooltip("test:N", title="Test language"),
        alt.Tooltip("train:N", title=pairs.column),
        alt.Tooltip("estimate:N", title=f"{pairs.name} [95% interval]"),
    ]
    if pairs.frame["chance"].any():  # else a cell is its own distance from 0
        shown += [
            alt.Tooltip("chance:Q", title="Chance, %", format=".1f"),
            alt.Tooltip("difference:Q", title="Difference, points", format="+.1f"),
        ]
    return [*shown, *([alt.Tooltip("q:N", title="q")] if "q_value" in pairs.frame else [])]
