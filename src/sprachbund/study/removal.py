"""The removal check of a study: the runs and influence results that it rests on, once these are finished."""

from pathlib import Path
from typing import TYPE_CHECKING

from sprachbund.errors import StudyError
from sprachbund.runs import Run
from sprachbund.study.given_runs import check_fine_tunes
from sprachbund.validation.removal import Basis, check_removal

if TYPE_CHECKING:
    from sprachbund.study.stages import Study


def check_study(study: "Study") -> list[Path]:
    """Do the removal check of a study in its folder `removal`.

    Returns: the tables and the verdicts.
    Raises: StudyError unless the study is fine-tuned and attributed as its configuration says now;
        ConfigurationError for runs of one's own.
    """
    check_fine_tunes(study.config, "removal")
    for stage in ("finetune", "attribute"):
        if not study.is_fresh(stage):
            raise StudyError(
                f"{study.folder}: not there yet for this study file; run `sprachbund {stage}` first"
            )
    config, data, influences = study.config, study.data, study.influences()
    seeds = config.removal.seeds or config.finetuning.seeds[:1]
    basis = Basis(
        config.removal,
        config.model,
        config.finetuning,
        data.train,
        data.test,
        {seed: Run.open(study.run_path(seed)) for seed in seeds},
        {seed: influences[seed] for seed in seeds},
    )
    observer = study.observer
    return check_removal(basis, study.folder / "removal", observer.progress, observer.say)
