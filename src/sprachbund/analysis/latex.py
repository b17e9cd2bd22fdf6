"""Tables for a paper: LaTeX with booktabs, one `table` each, or a `longtable` where it is long."""

import re

from sprachbund.analysis.table import Layout, Table, printed

_LONG = 45  # rows on a page
_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\N{EN DASH}": "--",
}


def latex(table: Table, layout: Layout, study: str = "") -> str:
    r"""The table as LaTeX, with caption and label; needs \usepackage{booktabs} (and longtable).

    `study` goes into the label, so that one paper can have the tables of several.
    """
    shown = printed(table, layout)
    names = list(layout.rows)
    # Numbers are LaTeX already; what names a row is not.
    shown[names] = shown[names].map(escaped)
    shown.columns = [escaped(str(column).replace("_", " ")) for column in shown.columns]
    long = len(shown) > _LONG
    return shown.style.hide(axis="index").to_latex(
        column_format="l" * len(names) + "r" * (shown.shape[1] - len(names)),
        hrules=True,
        caption=escaped(table.caption),
        label=f"tab:{_slug(f'{study}-{table.name}')}",
        environment="longtable" if long else None,
        position_float=None if long else "centering",
    )


def _slug(text: str) -> str:
    """What a label may hold: letters, digits and single hyphens."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")


def escaped(text: str) -> str:
    """Text with the characters that LaTeX would take for commands written out."""
    return "".join(_SPECIAL.get(character, character) for character in text)
