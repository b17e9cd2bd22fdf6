"""Does influence go with the distance between languages?"""

import pandas as pd

from sprachbund.analysis.table import FALSE_DISCOVERY_RATE
from sprachbund.report.formatting import count, decimal, named_probability, probability
from sprachbund.report.numbers import Numbers
from sprachbund.report.rows import Row, highest, rows_of
from sprachbund.report.section import Reading, Section
from sprachbund.report.tables import Table
from sprachbund.report.verdicts import that_differ

_ID, _TOPIC = "relations", "Relation to the languages"
_HEADING = "Does influence go with nearness between languages?"


def relations(numbers: Numbers) -> Section:
    """The Mantel tests of influence against each distance."""
    frame = numbers.table("relations")
    if frame is None:
        return Section(_ID, _TOPIC, _HEADING, [numbers.why_not("relations")])
    return Section(
        _ID,
        _TOPIC,
        _HEADING,
        findings=[_finding(frame)],
        parts=[
            _table(frame),
            Reading(
                "Spearman’s correlation of influence with distance over the pairs of two different "
                "languages: negative if near languages rely more on one another. The test exchanges "
                "languages, not pairs; the column of chance is the mean over all exchanges and where 95% "
                "of them lie. q is corrected (Benjamini-Hochberg) over the distances of one measure. With "
                "few languages there are few exchanges, and only a strong relation could show."
            ),
        ],
    )


def _finding(frame: pd.DataFrame) -> str:
    found = that_differ(frame)
    tests = count(len(frame), "correlation")
    languages = int(frame["n_languages"].max())
    if found.empty:
        least = highest(frame, -frame["p_value"])
        return (
            f"None of the {tests} with a distance between languages differs from what exchanging the "
            f"{languages} languages gives, at a false discovery rate of "
            f"{100 * FALSE_DISCOVERY_RATE:.0f}%. The strongest, {_tested(least)}, has "
            f"{named_probability('p', least['p_value'])}."
        )
    named = "; ".join(
        f"{_tested(row)} ({decimal(row['spearman'])}, {named_probability('q', row['q_value'])})"
        for row in rows_of(found)
    )
    verb = "differs" if len(found) == 1 else "differ"
    return f"Of the {tests} with a distance between languages {len(found)} {verb} from chance: {named}."


def _tested(row: Row) -> str:
    return f"{row['measure']} with distance ({row['distance']})"


def _table(frame: pd.DataFrame) -> Table:
    rows = [
        [
            f"{row['measure']}, {row['distance']}",
            decimal(row["spearman"]),
            f"{decimal(row['null_mean'])} [{decimal(row['null_low'])}, {decimal(row['null_high'])}]",
            probability(row["p_value"]),
            probability(row["q_value"]),
            f"{int(row['n_pairs']):,} of {int(row['n_languages'])}",
        ]
        for row in rows_of(frame)
    ]
    header = ["Influence, distance", "Spearman", "Chance", "p", "q", "Pairs of languages"]
    return Table("Mantel tests of influence against the distance between languages", header, rows)
