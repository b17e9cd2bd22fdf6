"""What a section of the page is: the finding in words, then figures and tables, then how to read them.

A section is made by a function of `Numbers` in a file of `report.sections`, which is listed there once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import altair as alt

from sprachbund.report.drawing import Drawn
from sprachbund.report.numbers import Numbers
from sprachbund.report.tables import Table


@dataclass(frozen=True)
class Figure:
    """A chart, by the name of its file; its description is what is read aloud in its place."""

    macro: ClassVar[str] = "figure"
    name: str
    chart: Drawn

    @property
    def description(self) -> str:
        """What the chart shows, in words."""
        text = self.chart.description
        return "" if text is alt.Undefined else str(text)


@dataclass(frozen=True)
class Folded:
    """Tables behind a line that opens them."""

    macro: ClassVar[str] = "folded"
    tables: Sequence[Table]
    summary: str = "The numbers as a table"


@dataclass(frozen=True)
class Reading:
    """How to read the figure or table above."""

    macro: ClassVar[str] = "reading"
    text: str


@dataclass(frozen=True)
class Heading:
    """The heading of a part of a section, with its own finding."""

    macro: ClassVar[str] = "part"
    text: str
    finding: str


Part = Figure | Folded | Heading | Reading | Table


@dataclass(frozen=True)
class Section:
    """One question of the study.

    `topic` names it in the contents and in the summary, which repeats the first of the `findings`.
    """

    id: str
    topic: str
    heading: str
    findings: Sequence[str]
    parts: Sequence[Part] = ()

    @property
    def figures(self) -> list[Figure]:
        """The figures among the parts."""
        return [part for part in self.parts if isinstance(part, Figure)]


# None where the study does not raise the question at all.
MakeSection = Callable[[Numbers], Section | None]
