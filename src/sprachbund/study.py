"""A study: its configuration, its folder, and its stages in order; what has not changed is skipped."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
import transformers

import sprachbund
from sprachbund.accuracy import ACCURACY, evaluate_run
from sprachbund.analysis.tables import write_tables
from sprachbund.attribution import attribute
from sprachbund.configuration import StudyConfig
from sprachbund.data.corpus import Corpus
from sprachbund.data.loading import load_corpus
from sprachbund.data.sampling import sample
from sprachbund.errors import ConfigurationError, DataError, StudyError
from sprachbund.finetuning import finetune
from sprachbund.freshness import StageRecord, files_fingerprint, fingerprint, write_text
from sprachbund.influence import Influence
from sprachbund.report import ReportData, write_report
from sprachbund.runs import Run


class Observer(Protocol):
    """Who watches a study: the terminal, a test, or nobody."""

    def stage(self, name: str, *, fresh: bool) -> None:
        """A stage begins, or is skipped because it is fresh."""

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """A task within the stage has come so far."""


class Silent:
    """Nobody watches."""

    def stage(self, name: str, *, fresh: bool) -> None:
        pass

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        pass


@dataclass(frozen=True)
class StudyData:
    """The sampled examples of a study: to train on, to attribute, and to measure accuracy on."""

    train: Corpus
    test: Corpus
    evaluation: Corpus


class Study:
    """A configuration and the folder that its stages write into.

    `base` is where relative paths in the configuration start, normally the folder of the study file.
    """

    def __init__(
        self,
        config: StudyConfig,
        folder: Path,
        base: Path,
        observer: Observer | None = None,
    ) -> None:
        self.config = config
        self.folder = folder
        self.base = base
        self.observer: Observer = observer or Silent()

    @property
    def stages(self) -> dict[str, Callable[[], None]]:
        """The stages by name, in order. Each needs the ones before it."""
        return {
            "data": self.prepare,
            "finetune": self.finetune,
            "attribute": self.attribute,
            "analyse": self.analyse,
            "report": self.report,
        }

    def run(self) -> None:
        """Do every stage that is not fresh."""
        for stage in self.stages.values():
            stage()

    @cached_property
    def data(self) -> StudyData:
        """The examples as sampled, read or loaded once.

        Raises: DataError, ConfigurationError if the data cannot give what the study asks for.
        """
        config = self.config
        corpus = load_corpus(config.data, config.languages.all, self.base)
        if len(corpus.labels) < 2:
            raise DataError(
                f'{corpus.name}: "{corpus.labels[0]}" is the only label; expected at least two to tell apart'
            )
        train = sample(
            corpus,
            split="train",
            languages=config.languages.train,
            per_language=config.train_per_language,
            seed=config.seed,
        )
        if config.analysis.k > len(train):
            raise ConfigurationError(
                f"analysis.k is {config.analysis.k}, but there are only {len(train)} training examples "
                "to rank; lower k or raise train_per_language"
            )
        test = sample(
            corpus,
            split="test",
            languages=config.languages.test,
            per_language=config.test_per_language,
            seed=config.seed,
        )
        evaluation = corpus.select(split="test", languages=config.languages.test)
        if config.evaluation_per_language is not None:
            evaluation = sample(
                corpus,
                split="test",
                languages=config.languages.test,
                per_language=config.evaluation_per_language,
                seed=config.seed,
            )
        return StudyData(train, test, evaluation)

    def prepare(self) -> None:
        """Sample the examples and write them down, with the configuration and the environment."""
        made_from = self._data_fingerprint()
        record = StageRecord(self.folder, "data")
        fresh = record.is_fresh(made_from)
        self.observer.stage("data", fresh=fresh)
        write_text(self.folder / "study.yaml", self.config.as_yaml())
        if fresh:
            return
        write_text(self.folder / "environment.txt", environment_text())
        outputs = []
        (self.folder / "data").mkdir(exist_ok=True)
        for name, corpus in vars(self.data).items():
            path = self.folder / "data" / f"{name}.jsonl"
            corpus.write(path)
            outputs.append(path)
        record.finish(made_from, outputs)

    def finetune(self) -> None:
        """One run for each seed, and the accuracy of its checkpoints by language."""
        made_from = self._run_fingerprint()
        record = StageRecord(self.folder, "finetune")
        fresh = record.is_fresh(made_from)
        self.observer.stage("finetune", fresh=fresh)
        if fresh:
            return
        outputs = []
        for seed in self.config.finetuning.seeds:

            def trained(step: int, steps: int, loss: float, seed: int = seed) -> None:
                self.observer.progress(f"fine-tuning, seed {seed}", step, steps, f"loss {loss:.3f}")

            def evaluated(done: int, total: int, seed: int = seed) -> None:
                self.observer.progress(f"accuracy, seed {seed}", done, total)

            folder = self._run_folder(seed)
            run = finetune(
                self.config.model,
                self.config.finetuning,
                self.data.train,
                None,
                folder,
                seed,
                trained,
            )
            evaluate_run(
                run,
                self.data.evaluation,
                max_length=self.config.model.max_length,
                on_progress=evaluated,
            )
            outputs += [folder / ACCURACY, *(checkpoint.path for checkpoint in run.checkpoints)]
        record.finish(made_from, outputs)

    def attribute(self) -> None:
        """Influence of every training example on every test prediction, at every checkpoint."""
        made_from = self._influence_fingerprint()
        record = StageRecord(self.folder, "attribute")
        fresh = record.is_fresh(made_from)
        self.observer.stage("attribute", fresh=fresh)
        if fresh:
            return
        for seed in self.config.finetuning.seeds:

            def scored(done: int, total: int, seed: int = seed) -> None:
                self.observer.progress(f"attribution, seed {seed}", done, total)

            attribute(
                self._run(seed),
                self.data.train,
                self.data.test,
                self._influence_path(seed),
                config=self.config.attribution,
                max_length=self.config.model.max_length,
                provenance={
                    "model": self.config.model.model_dump(mode="json"),
                    "train": self.data.train.fingerprint(),
                    "test": self.data.test.fingerprint(),
                    "finetuning": self.config.finetuning.model_dump(mode="json"),
                    "seed": seed,
                    "made_from": made_from,
                },
                on_progress=scored,
            )
        record.finish(made_from, [self._influence_path(s) for s in self.config.finetuning.seeds])

    def analyse(self) -> None:
        """The tables, as CSV."""
        made_from = self._analysis_fingerprint()
        record = StageRecord(self.folder, "analyse")
        fresh = record.is_fresh(made_from)
        self.observer.stage("analyse", fresh=fresh)
        if not fresh:
            analysis = self.config.analysis
            tables = write_tables(
                self.influences(),
                analysis.k,
                self.accuracy(),
                self.folder / "tables",
                examples=analysis.examples,
            )
            record.finish(made_from, tables)

    def report(self) -> None:
        """The page and its figures."""
        made_from = self._analysis_fingerprint()
        record = StageRecord(self.folder, "report")
        fresh = record.is_fresh(made_from)
        self.observer.stage("report", fresh=fresh)
        if not fresh:
            data = ReportData(
                title=self.folder.name,
                model=self.config.model.path,
                influences=self.influences(),
                accuracy=self.accuracy(),
                k=self.config.analysis.k,
                configuration=self.config.as_yaml(),
                environment=environment(),
            )
            record.finish(made_from, [write_report(self.report_path, data)])

    @property
    def report_path(self) -> Path:
        """Where the page is, once it is written."""
        return self.folder / "report.html"

    def influences(self) -> dict[int, Influence]:
        """The results by seed. Raises: StudyError if they are not there yet."""
        found = {}
        for seed in self.config.finetuning.seeds:
            path = self._influence_path(seed)
            if not path.exists():
                raise StudyError(f"{path}: not there yet; run `sprachbund attribute` first")
            found[seed] = Influence.open(path)
        return found

    def accuracy(self) -> pd.DataFrame:
        """Accuracy and loss by seed, checkpoint and language. Raises: StudyError if not measured yet."""
        tables = []
        for seed in self.config.finetuning.seeds:
            path = self._run_folder(seed) / ACCURACY
            if not path.exists():
                raise StudyError(f"{path}: not there yet; run `sprachbund finetune` first")
            table = pd.read_csv(path, keep_default_na=False)
            table.insert(0, "seed", seed)
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def _run(self, seed: int) -> Run:
        folder = self._run_folder(seed)
        if not folder.exists():
            raise StudyError(f"{folder}: not there yet; run `sprachbund finetune` first")
        return Run.open(folder)

    def _run_folder(self, seed: int) -> Path:
        return self.folder / "runs" / f"seed-{seed}"

    def _influence_path(self, seed: int) -> Path:
        return self.folder / "influence" / f"seed-{seed}.zarr"

    def _data_fingerprint(self) -> str:
        return fingerprint(
            sprachbund.__version__,
            self.config.analysis.k,
            *(corpus.fingerprint() for corpus in vars(self.data).values()),
        )

    def _run_fingerprint(self) -> str:
        finetuning = self.config.finetuning.model_dump(mode="json")
        return fingerprint(
            self._data_fingerprint(),
            self.config.model.model_dump(mode="json"),
            files_fingerprint(Path(self.config.model.path)),
            finetuning,
        )

    def _influence_fingerprint(self) -> str:
        folders = (self._run_folder(seed) for seed in self.config.finetuning.seeds)
        runs = [
            [files_fingerprint(checkpoint) for checkpoint in sorted(folder.glob("checkpoint-*"))]
            for folder in folders
        ]
        attribution = self.config.attribution.model_dump(mode="json")
        return fingerprint(self._run_fingerprint(), runs, attribution)

    def _analysis_fingerprint(self) -> str:
        return fingerprint(
            self._influence_fingerprint(), self.config.analysis.model_dump(mode="json")
        )


def environment() -> dict[str, str]:
    """Versions and machine, for replay."""
    return {
        "sprachbund": sprachbund.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def environment_text() -> str:
    return "".join(f"{name}: {value}\n" for name, value in environment().items())
