"""What each stage of a study is made from, as one hash: a stage is fresh while it has not changed."""

from typing import TYPE_CHECKING

from sprachbund import __version__
from sprachbund.freshness import files_fingerprint, fingerprint, model_fingerprint
from sprachbund.index.files import FORMAT
from sprachbund.study.tables import compared_fingerprint, distances_fingerprint

if TYPE_CHECKING:
    from sprachbund.study.stages import Study


def made_from(study: "Study", stage: str) -> str:
    """A hash of all that the outputs of a stage depend on: of the configuration no more than what the stage reads."""
    return fingerprint(__version__, stage, _parts(study, stage))


def _parts(study: "Study", stage: str) -> list[object]:
    config = study.config
    train, test, evaluation = (corpus.fingerprint() for corpus in vars(study.data).values())
    match stage:
        case "data":
            return [train, test, evaluation]
        case "finetune" if config.runs:
            return [evaluation, _checkpoints(study), config.model.max_length]
        case "finetune":
            model = config.model.use, model_fingerprint(config.model.path)
            return [train, evaluation, model, config.finetuning.model_dump()]
        case "attribute":
            return [train, test, _checkpoints(study), config.attribution.model_dump()]
        case "index":
            return [train, _checkpoints(study), config.index.model_dump(), FORMAT]
        case "decompose":
            attribution, of = config.attribution.model_dump(), config.decomposition.model_dump()
            return [train, test, _checkpoints(study), attribution, of]
        case "removal":
            return [_influence(study), config.removal.model_dump()]
        case "analyse":
            return _of_tables(study)
        case "report":
            return [
                *_of_tables(study),
                *(files_fingerprint(folder) for folder in study.further_tables),
            ]
    raise ValueError(f"no stage {stage}")


def _influence(study: "Study") -> list[str]:
    return [made_from(study, stage) for stage in ("finetune", "attribute")]


def _of_tables(study: "Study") -> list[object]:
    config = study.config
    return [
        _influence(study),
        config.analysis.model_dump(exclude={"distances", "compare_with"}),
        distances_fingerprint(config, study.base),
        compared_fingerprint(config, study.base),
        made_from(study, "decompose") if study.is_fresh("decompose") else "",
    ]


def _checkpoints(study: "Study") -> list[str]:
    """A change of any checkpoint's files counts, in each seed's run."""
    folders = [
        folder
        for seed in study.config.seeds
        for folder in sorted(study.run_path(seed).glob("checkpoint-*"))
    ]
    return [files_fingerprint(folder) for folder in folders]
