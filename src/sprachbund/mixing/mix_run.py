"""One mix, fine-tuned with one seed: a study of its own in `mixes/<mix>/seed-<seed>/`.

What it was made from is noted without its checkpoints, so that they can be deleted and it stays done.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import sprachbund
from sprachbund.analysis.mixes import Mix
from sprachbund.configuration import StudyConfig
from sprachbund.freshness import StageRecord, fingerprint, model_fingerprint
from sprachbund.mixing.predictions import PREDICTIONS, write_predictions
from sprachbund.mixing.start import share_start
from sprachbund.study import Study


@dataclass(frozen=True)
class MixRun:
    """A mix with one seed, and what is to be measured of it.

    `study` has the mix for its languages and the seed for its only one; `start` is the run of the whole study
    with that seed.
    """

    mix: Mix
    seed: int
    study: Study
    start: Path
    is_attributed: bool

    @property
    def predictions_path(self) -> Path:
        return self.study.folder / PREDICTIONS

    @property
    def made_from(self) -> str:
        """A hash of all that is measured depends on; the checkpoints follow from it."""
        return self._influence_from if self.is_attributed else self._accuracy_from

    @property
    def is_done(self) -> bool:
        """Whether everything has been measured, from what the configuration and the data are now."""
        if not self._record("mix-accuracy").is_fresh(self._accuracy_from):
            return False
        return not self.is_attributed or self._record("mix-influence").is_fresh(
            self._influence_from
        )

    def do(self) -> None:
        """Fine-tune and measure, going on where an earlier call was stopped."""
        study, run_path = self.study, self.study.run_path(self.seed)
        share_start(self.start, run_path)
        run, length = study.train(self.seed), study.config.model.max_length
        write_predictions(run, study.data.evaluation, self.predictions_path, length, study.encoder)
        self._record("mix-accuracy").finish(self._accuracy_from, [self.predictions_path])
        if self.is_attributed:
            study.attribute()
            influence = study.influence_path(self.seed)
            self._record("mix-influence").finish(self._influence_from, [influence])

    def delete_checkpoints(self) -> None:
        """Delete the whole run: nothing of it is left that the next training could take for its own."""
        if self.study.run_path(self.seed).exists():
            shutil.rmtree(self.study.run_path(self.seed))

    @property
    def _accuracy_from(self) -> str:
        config, data = self.study.config, self.study.data
        return fingerprint(
            sprachbund.__version__,
            config.model.use,
            model_fingerprint(config.model.path),
            config.finetuning.model_dump(),
            data.train.fingerprint(),
            data.evaluation.fingerprint(),
        )

    @property
    def _influence_from(self) -> str:
        attribution = self.study.config.attribution.model_dump()
        return fingerprint(self._accuracy_from, self.study.data.test.fingerprint(), attribution)

    def _record(self, name: str) -> StageRecord:
        return StageRecord(self.study.folder, name)


def configured(config: StudyConfig, mix: Mix, seed: int) -> StudyConfig:
    """The study with the languages and numbers of examples of a mix, and one seed."""
    return config.model_copy(
        update={
            "languages": config.languages.model_copy(update={"train": tuple(mix.counts)}),
            "train_per_language": dict(mix.counts),
            "finetuning": config.finetuning.model_copy(update={"seeds": (seed,)}),
        }
    )
