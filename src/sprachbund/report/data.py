"""What a report is made of: the influence results by seed, the accuracy and where they came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from sprachbund.errors import InfluenceError, StudyError
from sprachbund.influence import Influence
from sprachbund.influences import Influences
from sprachbund.report.results import Results

ACCURACY_COLUMNS = ("seed", "checkpoint", "epoch", "language", "n", "accuracy", "loss")


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows; nothing is computed from anything else.

    `influences` maps the seed of each fine-tuning run to its result; all have the same training and
    test examples. `accuracy` has the columns `ACCURACY_COLUMNS`, one row for each seed, checkpoint
    (optimizer step; 0 is the starting point) and language. `k` is the number of proponents that
    shares are taken over. `results` are the tables of the analysis with that k (`read_results`);
    without them, those that the influence results allow are computed. `configuration` is the text of
    the resolved study.yaml, `environment` the versions and the machine, `warnings` what the reader
    must know of before believing a number. `given_runs` are the names of runs that were fine-tuned elsewhere, by
    seed in order; empty where the study made them from `model`.

    Raises: StudyError if a part is empty or the parts do not belong together.
    """

    title: str
    model: str
    influences: Mapping[int, Influence]
    accuracy: pd.DataFrame
    k: int = 100
    results: Results | None = None
    configuration: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    given_runs: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.influences:
            raise StudyError("a report needs the influence result of at least one seed; found none")
        missing = [name for name in ACCURACY_COLUMNS if name not in self.accuracy.columns]
        if missing:
            raise StudyError(f"the accuracy table lacks the columns {', '.join(missing)}")
        try:
            Influences(self.influences)
        except InfluenceError as error:
            raise StudyError(f"a report shows runs of one study: {error}") from error

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds in order."""
        return tuple(sorted(self.influences))

    @property
    def first(self) -> Influence:
        """The result of the lowest seed, which the examples are shown for."""
        return self.influences[self.seeds[0]]

    @property
    def method(self) -> str:
        """The attribution method, "tracin" or "tracin-cosine"."""
        return self.first.method
