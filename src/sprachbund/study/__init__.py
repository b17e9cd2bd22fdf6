"""Studies: from a study file to a page, stage by stage; what has not changed is skipped."""

from sprachbund.study.observer import Observer
from sprachbund.study.stages import Study

__all__ = ["Observer", "Study"]
