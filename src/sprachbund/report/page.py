"""The report: one HTML file that holds everything it shows, and its figures beside it."""

import base64
import hashlib
import json
import shlex
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path

import jinja2
import vl_convert

from sprachbund import __version__
from sprachbund.errors import SprachbundWarning
from sprachbund.report import formatting
from sprachbund.report.data import ReportData
from sprachbund.report.drawing import svg_of
from sprachbund.report.examples import Shown, choose_examples, shown_examples
from sprachbund.report.languages import language_label, text_direction
from sprachbund.report.numbers import Numbers
from sprachbund.report.overview import overview_table
from sprachbund.report.section import Figure, Section
from sprachbund.report.sections import SECTIONS
from sprachbund.report.summary import summarise
from sprachbund.writing import write_text

EXAMPLES_PER_LANGUAGE = 3
PROPONENTS_PER_EXAMPLE = 8
_GLOBALS = "window.vegaEmbed = vegaEmbed;"


@dataclass(frozen=True)
class Drawing:
    """A chart as a page holds it: static SVG, and the specification that makes it live."""

    id: str
    description: str
    svg: str
    specification: str


def write_report(
    path: Path,
    data: ReportData,
    *,
    examples_per_language: int = EXAMPLES_PER_LANGUAGE,
    proponents_per_example: int = PROPONENTS_PER_EXAMPLE,
) -> Path:
    """Write the page to `path`, and its charts as SVG to the folder `figures` beside it.

    The page needs no network, and shows its charts and numbers without JavaScript too. It appears
    only when whole. Returns: `path`.
    Raises: StudyError if it cannot be written; InfluenceError if k exceeds the training set.
    """
    # Every analysis warns of the same things; the reader is told once, and on the page.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SprachbundWarning)
        numbers = Numbers(data)
        sections = [section for make in SECTIONS if (section := make(numbers))]
    said = list(dict.fromkeys(str(warning.message) for warning in caught))
    for message in said:
        warnings.warn(message, SprachbundWarning, stacklevel=2)
    drawings = {figure.name: _drawing(figure) for section in sections for figure in section.figures}
    positions = choose_examples(data.first, examples_per_language)
    shown = shown_examples(data.first, positions, proponents_per_example)
    page = _render(path.parent, numbers, sections, drawings, shown, [*data.warnings, *said])
    for name, drawing in drawings.items():
        write_text(path.parent / "figures" / f"{name}.svg", drawing.svg)
    write_text(path, page)
    return path


def _drawing(figure: Figure) -> Drawing:
    specification = figure.chart.to_dict()
    return Drawing(
        id=f"chart-{figure.name}",
        description=figure.description,
        svg=svg_of(specification),
        specification=_inside_script(json.dumps(specification, ensure_ascii=False)),
    )


def _render(
    folder: Path,
    numbers: Numbers,
    sections: list[Section],
    drawings: dict[str, Drawing],
    shown: list[Shown],
    cautions: list[str],
) -> str:
    data = numbers.data
    script = _script()
    by_language = {
        language: list(examples) for language, examples in groupby(shown, key=lambda e: e.language)
    }
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            numbers=numbers,
            folder=shlex.quote(str(folder)),
            labels=data.first.labels,
            sections=sections,
            findings=summarise(numbers, sections),
            warnings=list(dict.fromkeys(cautions)),
            overview=overview_table(numbers),
            charts=drawings,
            examples_by_language=[
                (tag, by_language.get(tag, [])) for tag in numbers.test_languages
            ],
            parallel=any(item for item in data.first.dataset["train_item"].values),
            provenance=[
                (seed, json.dumps(data.influences[seed].provenance, indent=2, ensure_ascii=False))
                for seed in data.seeds
            ],
            css=_asset("report.css"),
            script=script,
            content_security_policy=_content_security_policy(script),
            version=__version__,
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sprachbund.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["language_label"] = language_label
    environment.filters["text_direction"] = text_direction
    environment.filters["score"] = formatting.score
    return environment


@cache
def _script() -> str:
    # vl-convert carries Vega, Vega-Lite and Vega-Embed, in the versions that Altair writes for.
    return f"{vl_convert.javascript_bundle(_GLOBALS)}\n{_asset('report.js')}"


def _asset(name: str) -> str:
    return (files("sprachbund.report") / "templates" / name).read_text(encoding="utf-8")


def _content_security_policy(script: str) -> str:
    """Only our own script runs and nothing is loaded, should a text ever escape its escaping."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _inside_script(text: str) -> str:
    """JSON that cannot end the script element that holds it."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
