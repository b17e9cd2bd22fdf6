"""Whose examples speak against each language's predictions."""

from sprachbund.report.numbers import Numbers
from sprachbund.report.section import Figure, Folded, Reading, Section
from sprachbund.report.sections.sharing import own_language, share_heat_map
from sprachbund.report.share_tables import pair_tables, share_table, shares_by_k
from sprachbund.report.verdicts import cells_that_differ


def opponents(numbers: Numbers) -> Section:
    """The sharing matrix of the training examples that most lower the fit."""
    k = f"{numbers.data.k:,}"
    frame = numbers.opponents
    return Section(
        id="opponents",
        topic="Opponents",
        heading="Whose examples speak against them",
        findings=[own_language(numbers, "opponents"), cells_that_differ(frame)],
        parts=[
            Figure("opponents", share_heat_map(numbers, frame, "opponents")),
            Folded([share_table(numbers, frame, f"Share of the top {k} opponents")]),
            Reading(
                f"The same for the top {k} opponents, the training examples that most lower the fit. A "
                "language that is strong among both the proponents and the opponents has examples that "
                "pull hard, not examples that help."
            ),
            Folded(
                [*shares_by_k(numbers, "opponents"), *pair_tables(numbers, "opponents")],
                "Other measures of the same: share by k, lift, mass",
            ),
        ],
    )
