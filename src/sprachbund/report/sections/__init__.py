"""The sections of the page, in its order. A new one is a file here and a line in `SECTIONS`."""

from sprachbund.report.section import MakeSection
from sprachbund.report.sections.accuracy import accuracy
from sprachbund.report.sections.comparison import comparison
from sprachbund.report.sections.dynamics import dynamics
from sprachbund.report.sections.explanations import explanations
from sprachbund.report.sections.mixing import mixing
from sprachbund.report.sections.opponents import opponents
from sprachbund.report.sections.parameter_groups import parameter_groups
from sprachbund.report.sections.reinforcement import reinforcement
from sprachbund.report.sections.relations import relations
from sprachbund.report.sections.removal import removal
from sprachbund.report.sections.seeds import seeds
from sprachbund.report.sections.sharing import sharing
from sprachbund.report.sections.zero_shot import zero_shot

SECTIONS: tuple[MakeSection, ...] = (
    sharing,
    opponents,
    dynamics,
    accuracy,
    reinforcement,
    zero_shot,
    comparison,
    explanations,
    parameter_groups,
    relations,
    removal,
    mixing,
    seeds,
)

__all__ = ["SECTIONS"]
