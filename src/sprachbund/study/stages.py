"""A study: its configuration, its folder, and its stages in order; what has not changed is skipped."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from sprachbund.accuracy import ACCURACY, evaluate_run
from sprachbund.analysis.tables import write_tables
from sprachbund.attribution import attribute
from sprachbund.configuration import StudyConfig
from sprachbund.environment import environment, environment_text
from sprachbund.errors import StudyError
from sprachbund.finetuning import finetune
from sprachbund.freshness import StageRecord
from sprachbund.index import build_index
from sprachbund.influence import Influence
from sprachbund.modeling import Encoder, load_tokenizer
from sprachbund.report import ReportData, read_results, write_report
from sprachbund.runs import Run
from sprachbund.study.data import StudyData, draw
from sprachbund.study.decomposition import decompose_study, decompositions_of
from sprachbund.study.given_runs import doubts_about, open_run, with_their_model
from sprachbund.study.inputs import made_from
from sprachbund.study.observer import Observer, Silent
from sprachbund.study.removal import check_study
from sprachbund.study.results import check_results, described, warn_of_others
from sprachbund.study.tables import known_of
from sprachbund.writing import write_text


class Study:
    """A configuration and the folder that its stages write into.

    `base` is where relative paths in the configuration start, normally the folder of the study file.
    `data` are the examples where they have been drawn already, `encoder` has tokenised some of them.
    """

    def __init__(
        self,
        config: StudyConfig,
        folder: Path,
        base: Path,
        observer: Observer | None = None,
        data: StudyData | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self.config = with_their_model(config, base)
        self.folder = folder
        self.base = base
        self.observer: Observer = observer or Silent()
        if data is not None:
            self.data = data
        if encoder is not None:
            self.encoder = encoder

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
        """The examples, drawn once. Raises: DataError, ConfigurationError if that is not possible."""
        return draw(self.config, self.base)

    @cached_property
    def encoder(self) -> Encoder:
        """What the runs tokenise their texts with, each text once. Raises: ModelError if there is no tokenizer."""
        model = self.config.model
        return Encoder(load_tokenizer(model.path), model.max_length)

    def prepare(self) -> None:
        """Draw the examples and write them down, with the configuration and the environment."""
        corpora = vars(self.data)

        def write() -> list[Path]:
            write_text(self.folder / "environment.txt", environment_text())
            (self.folder / "data").mkdir(exist_ok=True)
            paths = {name: self.folder / "data" / f"{name}.jsonl" for name in corpora}
            for name, path in paths.items():
                corpora[name].write(path)
            return list(paths.values())

        self._do("data", write)
        write_text(self.folder / "study.yaml", self.config.anchored(self.base).as_yaml())

    def finetune(self) -> None:
        """One run for each seed, unless runs are given, and the accuracy of its checkpoints by language."""

        def train() -> list[Path]:
            return [path for seed in self._seeds for path in self._finetune_seed(seed)]

        self._do("finetune", train, shown="evaluate" if self.config.runs else "finetune")

    def attribute(self) -> None:
        """Influence of every training example on every test prediction, at every checkpoint."""
        self._do("attribute", lambda: [self._attribute_seed(seed) for seed in self._seeds])
        warn_of_others(self)

    def index(self) -> None:
        """Compressed gradients of the training examples at every checkpoint, for queries; no other stage needs them."""
        self._do("index", lambda: [self._index_seed(seed) for seed in self._seeds])

    def decompose(self) -> None:
        """Influence by group of parameters and without mean gradients; the tables have more controls with it."""
        self._do("decompose", lambda: decompose_study(self))

    def removal(self) -> None:
        """Retraining without what predictions rest on, and without as much else; no other stage needs it."""
        self._do("removal", lambda: check_study(self))

    def analyse(self) -> None:
        """The tables, as CSV, Parquet and LaTeX."""
        analysis = self.config.analysis

        def write() -> list[Path]:
            return write_tables(
                self.influences(),
                analysis.k,
                self.accuracy(),
                self.folder / "tables",
                examples=analysis.examples,
                study=self.folder.name,
                asked=replace(
                    known_of(self.config, self.data, self.base),
                    decompositions=decompositions_of(self),
                ),
                on_notice=self.observer.say,
            )

        self._do("analyse", write)

    def report(self) -> None:
        """The page and its figures, from the results, the tables of `analyse`, and those of other analyses."""

        def write() -> list[Path]:
            if not self.is_fresh("analyse"):
                raise StudyError(
                    f"{self.folder / 'tables'}: not there yet, or not of this study file; run "
                    "`sprachbund analyse` first"
                )
            influences = self.influences()
            data = ReportData(
                title=self.folder.name,
                model=self.config.model.path,
                given_runs=tuple(path.name for path in self.config.run_paths(self.base)),
                influences=influences,
                accuracy=self.accuracy(),
                k=self.config.analysis.k,
                results=read_results(self.folder / "tables", *self.further_tables),
                configuration=self.config.as_yaml(),
                environment=environment(),
                warnings=doubts_about(self, influences),
            )
            page = write_report(self.report_path, data)
            return [page, *sorted((self.folder / "figures").glob("*.svg"))]

        self._do("report", write)

    def is_fresh(self, name: str) -> bool:
        """Whether a stage is done, from what the configuration and its inputs are now."""
        return StageRecord(self.folder, name).is_fresh(made_from(self, name))

    @property
    def report_path(self) -> Path:
        """Where the page is, once it is written."""
        return self.folder / "report.html"

    def influences(self) -> dict[int, Influence]:
        """The results by seed. Raises: StudyError if they are not there yet, or of another study file."""
        found = {
            seed: Influence.open(self._existing(self.influence_path(seed), "attribute"))
            for seed in self._seeds
        }
        check_results(self, found)
        return found

    def accuracy(self) -> pd.DataFrame:
        """Accuracy and loss by seed, checkpoint and language. Raises: StudyError if not measured yet."""
        tables = []
        for seed in self._seeds:
            path = self._existing(self._accuracy_folder(seed) / ACCURACY, "finetune")
            table = pd.read_csv(path, keep_default_na=False)
            table.insert(0, "seed", seed)
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def _do(self, name: str, work: Callable[[], Sequence[Path]], shown: str = "") -> None:
        """Do the work of a stage unless it is fresh, and note what it was made from and wrote."""
        fresh, inputs = self.is_fresh(name), made_from(self, name)
        self.observer.stage(shown or name, fresh=fresh)
        if not fresh:
            StageRecord(self.folder, name).finish(inputs, work())

    def train(self, seed: int) -> Run:
        """The run of one seed, trained if it is not; nothing is measured."""
        if self.config.runs:
            return open_run(self.run_path(seed), len(self.data.train))

        def trained(step: int, steps: int, loss: float) -> None:
            self.observer.progress(f"fine-tuning, seed {seed}", step, steps, f"loss {loss:.3f}")

        config, folder = self.config, self.run_path(seed)
        return finetune(
            config.model,
            config.finetuning,
            self.data.train,
            None,
            folder,
            seed,
            trained,
            self.encoder,
        )

    def _finetune_seed(self, seed: int) -> list[Path]:
        def evaluated(done: int, total: int) -> None:
            self.observer.progress(f"accuracy, seed {seed}", done, total)

        run, folder = self.train(seed), self._accuracy_folder(seed)
        evaluate_run(
            run,
            self.data.evaluation,
            max_length=self.config.model.max_length,
            folder=folder,
            on_progress=evaluated,
        )
        own = [] if self.config.runs else [checkpoint.path for checkpoint in run.checkpoints]
        return [folder / ACCURACY, *own]

    def _attribute_seed(self, seed: int) -> Path:
        def scored(done: int, total: int) -> None:
            self.observer.progress(f"attribution, seed {seed}", done, total)

        config, path = self.config, self.influence_path(seed)
        attribute(
            Run.open(self._existing(self.run_path(seed), "finetune")),
            self.data.train,
            self.data.test,
            path,
            config=config.attribution,
            max_length=config.model.max_length,
            provenance={**described(self, seed), "seed": seed},
            on_progress=scored,
            on_notice=self.observer.say,
        )
        return path

    def _index_seed(self, seed: int) -> Path:
        def compressed(done: int, total: int) -> None:
            self.observer.progress(f"index, seed {seed}", done, total)

        path = self.index_path(seed)
        build_index(
            Run.open(self._existing(self.run_path(seed), "finetune")),
            self.data.train,
            path,
            config=self.config.index,
            max_length=self.config.model.max_length,
            on_progress=compressed,
            on_notice=self.observer.say,
        )
        return path

    def run_path(self, seed: int) -> Path:
        """The folder of a seed's fine-tuning run."""
        given = self.config.run_paths(self.base)
        return given[seed] if given else self.folder / "runs" / f"seed-{seed}"

    def influence_path(self, seed: int) -> Path:
        """Where a seed's influence result is."""
        return self.folder / "influence" / f"seed-{seed}.zarr"

    def index_path(self, seed: int) -> Path:
        """The folder of a seed's index."""
        return self.folder / "index" / f"seed-{seed}"

    @property
    def further_tables(self) -> list[Path]:
        """Folders of tables that no stage of the study itself writes; the page shows those that there are."""
        folders = (self.folder / "removal", self.folder / "mixes" / "tables")
        return [folder for folder in folders if folder.is_dir()]

    def _accuracy_folder(self, seed: int) -> Path:
        """Within the study's own folder, even where the run is not: nothing is written beside what was given."""
        return self.folder / "runs" / f"seed-{seed}"

    @property
    def _seeds(self) -> tuple[int, ...]:
        return self.config.seeds

    def _existing(self, path: Path, stage: str) -> Path:
        if not path.exists():
            raise StudyError(f"{path}: not there yet; run `sprachbund {stage}` first")
        return path
