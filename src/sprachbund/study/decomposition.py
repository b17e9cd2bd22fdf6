"""The decompositions of a study: taking the influence of its runs apart, and what the tables use of it."""

from pathlib import Path
from typing import TYPE_CHECKING

from sprachbund.decomposition.build import decompose
from sprachbund.decomposition.result import Decomposition
from sprachbund.errors import StudyError
from sprachbund.runs import Run

if TYPE_CHECKING:
    from sprachbund.study.stages import Study


def decompose_study(study: "Study") -> list[Path]:
    """Take the influence of each run of a study apart, as its attribution computes it.

    Returns: one result for each seed.
    Raises: StudyError unless the study is fine-tuned as its configuration says now.
    """
    if not study.is_fresh("finetune"):
        raise StudyError(
            f"{study.folder}: not there yet for this study file; run `sprachbund finetune` first"
        )
    return [_decompose_seed(study, seed) for seed in study.config.seeds]


def decompositions_of(study: "Study") -> dict[int, Decomposition]:
    """The decompositions by seed, if they are there and of what the study is now; else none."""
    if not study.is_fresh("decompose"):
        return {}
    return {
        seed: Decomposition.open(decomposition_path(study, seed)) for seed in study.config.seeds
    }


def decomposition_path(study: "Study", seed: int) -> Path:
    """Where a seed's decomposition is."""
    return study.folder / "decomposition" / f"seed-{seed}.zarr"


def _decompose_seed(study: "Study", seed: int) -> Path:
    def passed(done: int, total: int) -> None:
        study.observer.progress(f"decomposition, seed {seed}", done, total)

    config, path = study.config, decomposition_path(study, seed)
    decompose(
        Run.open(study.run_path(seed)),
        study.data.train,
        study.data.test,
        path,
        config=config.decomposition,
        attribution=config.attribution,
        max_length=config.model.max_length,
        on_progress=passed,
        on_notice=study.observer.say,
    )
    return path
