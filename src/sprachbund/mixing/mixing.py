"""All mixes of a study: fine-tuned one after the other, measured, compared, and never done twice."""

import warnings
from functools import cached_property
from pathlib import Path

from sprachbund.analysis.files import write_contents, write_table
from sprachbund.analysis.mixes import Mix
from sprachbund.analysis.mixing_tables import Measured, mixing_tables
from sprachbund.data.corpus import Corpus
from sprachbund.data.loading import load_corpus
from sprachbund.errors import SprachbundWarning
from sprachbund.freshness import StageRecord, files_fingerprint, fingerprint
from sprachbund.mixing.draws import rank, take
from sprachbund.mixing.mix_run import MixRun, configured
from sprachbund.mixing.predictions import PREDICTIONS, write_predictions
from sprachbund.mixing.results import correct_by_seed, influences_by_mix
from sprachbund.mixing.sweep import plan_sweep
from sprachbund.runs import Run
from sprachbund.study import Study
from sprachbund.study.data import StudyData, draw_from
from sprachbund.study.given_runs import check_fine_tunes
from sprachbund.study.observer import Observer


class Mixing:
    """The mixes of a study, in the folder `mixes` of its own.

    The corpus is read once, and every mix takes its examples from the same nested draw.

    Raises: DataError, ConfigurationError if the data cannot give what is asked, before anything is trained.
    """

    def __init__(self, study: Study) -> None:
        config, base = study.config, study.base
        check_fine_tunes(config, "mix")
        corpus = load_corpus(config.data, config.languages.all, base)
        data = draw_from(corpus, config, base)
        self.study = Study(config, study.folder, base, study.observer, data)
        self.sweep = plan_sweep(config, _available(corpus))
        ranking = rank(corpus, data.train, self.sweep.mixes, config.seed)
        self._train = {mix.name: take(ranking, mix, data.train) for mix in self.sweep.mixes}

    @property
    def folder(self) -> Path:
        """Where the mixes are."""
        return self.study.folder / "mixes"

    @property
    def tables(self) -> Path:
        """The folder of the tables."""
        return self.folder / "tables"

    def run(self) -> None:
        """Do the study's own fine-tuning, then every mix, then the tables: what is not done already."""
        for line in self.sweep.left_out:
            warnings.warn(f"mix left out: {line}", SprachbundWarning, stacklevel=2)
        self.study.prepare()
        self.study.finetune()
        if self._attributed:
            self.study.attribute()
        self._finetune_mixes()
        self._write_tables()

    @cached_property
    def runs(self) -> tuple[MixRun, ...]:
        """Every mix but the study's own with every seed, seed by seed."""
        mixes = [mix for mix in self.sweep.mixes if mix is not self.sweep.study]
        seeds = self.study.config.finetuning.seeds
        return tuple(self._run(mix, seed) for seed in seeds for mix in mixes)

    @property
    def _attributed(self) -> tuple[Mix, ...]:
        return self.sweep.attributed(self.study.config.mixing.attribute)

    def _run(self, mix: Mix, seed: int) -> MixRun:
        study, data = self.study, self.study.data
        return MixRun(
            mix=mix,
            seed=seed,
            study=Study(
                configured(study.config, mix, seed),
                self.folder / mix.name / f"seed-{seed}",
                study.base,
                data=StudyData(self._train[mix.name], data.test, data.evaluation),
                encoder=study.encoder,
            ),
            start=study.run_path(seed),
            is_attributed=mix in self._attributed,
        )

    def _finetune_mixes(self) -> None:
        observer, keep = self.study.observer, self.study.config.mixing.keep_checkpoints
        done = sum(run.is_done for run in self.runs)
        observer.stage("mix", fresh=done == len(self.runs))
        n_mixes, n_seeds = len(self.sweep.mixes) - 1, len(self.study.config.finetuning.seeds)
        observer.say(
            f"{n_mixes} mixes beside the study's own, {n_seeds} seed(s): {len(self.runs)} runs, {done} of them done"
        )
        for position, run in enumerate(self.runs):
            if not run.is_done:
                run.study.observer = _Within(observer, run, position, len(self.runs))
                run.study.folder.mkdir(parents=True, exist_ok=True)
                run.study.data.train.write(run.study.folder / "train.jsonl")
                run.do()
                observer.progress("mixes", position + 1, len(self.runs), run.mix.name)
            if not keep:
                run.delete_checkpoints()

    def _write_tables(self) -> None:
        own = {seed: self._own_predictions(seed) for seed in self.study.config.finetuning.seeds}
        k, record = self.study.config.analysis.k, StageRecord(self.folder, "tables")
        made_from = fingerprint(
            [(run.mix.name, run.seed, run.made_from) for run in self.runs],
            [files_fingerprint(path.parent) for path in own.values()],
            self.study.config.mixing.model_dump(exclude={"keep_checkpoints"}),
            [k, self.sweep.left_out],
        )
        fresh = record.is_fresh(made_from)
        self.study.observer.stage("analyse", fresh=fresh)
        if not fresh:
            correct = correct_by_seed(self.runs, self.sweep.study.name, own)
            influences = influences_by_mix(self.runs)
            if self._attributed:
                influences = {self.sweep.study.name: self.study.influences()} | influences
            labels, name = self.study.data.train.labels, self.study.folder.name
            tables = mixing_tables(Measured(self.sweep, correct, influences, k, labels))
            written = [path for table in tables for path in write_table(table, self.tables, name)]
            written.append(write_contents(tables, self.sweep.left_out, self.tables))
            for path in set(self.tables.iterdir()) - set(written):
                path.unlink()  # a table of other mixes must not stay to mislead
            record.finish(made_from, written)

    def _own_predictions(self, seed: int) -> Path:
        """What the study's own run predicts, in the place where those of a mix are."""
        study, folder = self.study, self.folder / self.sweep.study.name / f"seed-{seed}"
        path, record = folder / PREDICTIONS, StageRecord(folder, "predictions")
        run = Run.open(study.run_path(seed))
        made_from = fingerprint(
            files_fingerprint(run.checkpoints[-1].path), study.data.evaluation.fingerprint()
        )
        if not record.is_fresh(made_from):
            length = study.config.model.max_length
            write_predictions(run, study.data.evaluation, path, length, study.encoder)
            record.finish(made_from, [path])
        return path


class _Within:
    """Shows the run of a mix as one step of all."""

    def __init__(self, observer: Observer, run: MixRun, position: int, total: int) -> None:
        self._observer, self._run = observer, run
        self._position, self._total = position, total

    def stage(self, name: str, *, fresh: bool) -> None:
        """The stages of one mix are not shown."""

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        note = f"{self._run.mix.name}, {task}: {done / total:.0%}"
        self._observer.progress("mixes", self._position, self._total, note)

    def say(self, text: str) -> None:
        """Of the study itself it has been said."""


def _available(corpus: Corpus) -> dict[str, int]:
    """Training examples by language."""
    frame = corpus.frame
    counts = frame.loc[frame["split"] == "train", "language"].value_counts()
    return {str(language): int(count) for language, count in counts.items()}
