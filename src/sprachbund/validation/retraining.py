"""One retraining: the same start and the same settings without some training examples, and what it predicts.

Each has a folder named after what it depends on, so that whatever asks for it again, in another
study file or by another criterion, finds it done. Its checkpoints are deleted once it has predicted.
"""

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import sprachbund
from sprachbund.accuracy import predict
from sprachbund.data.corpus import Corpus
from sprachbund.errors import SprachbundWarning, StudyError
from sprachbund.finetuning import FinetuningConfig, Progress, finetune
from sprachbund.freshness import StageRecord, fingerprint
from sprachbund.modeling import ModelConfig, load_checkpoint, load_tokenizer
from sprachbund.runs import Checkpoint
from sprachbund.writing import writing

_TRAINING = "run"


@dataclass(frozen=True)
class Setting:
    """What all retrainings of one run have in common with it."""

    model: ModelConfig
    finetuning: FinetuningConfig
    train: Corpus
    test: Corpus
    seed: int
    start: str  # fingerprint of the run's starting point

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            sprachbund.__version__,
            self.model.use,
            self.finetuning.model_dump(mode="json", exclude={"seeds"}),
            self.train.fingerprint(),
            self.test.fingerprint(),
            self.seed,
            self.start,
        )


@dataclass(frozen=True)
class Retraining:
    """One training of a run without the examples at some positions of its training set."""

    parent: Path
    setting: Setting
    removed: tuple[int, ...]

    @cached_property
    def name(self) -> str:
        """The seed, and a hash of all that the predictions depend on."""
        made_from = fingerprint(self.setting.fingerprint, self.removed)
        return f"seed-{self.setting.seed}-{made_from}"

    @property
    def folder(self) -> Path:
        return self.parent / self.name

    @property
    def is_done(self) -> bool:
        return self._record.is_fresh(self.name)

    def probabilities(self, on_progress: Progress | None = None) -> pd.DataFrame:
        """Probability of each label for each test example after the last step: [test id, label].

        Trains unless that is done; goes on where it was stopped.

        Raises: RunError if the training fails; StudyError if a result is damaged or the disk refuses.
        """
        path = self.folder / "probabilities.parquet"
        if not self.is_done:
            with warnings.catch_warnings():
                # The run itself has said it, of all training examples.
                warnings.filterwarnings("ignore", ".* were truncated", SprachbundWarning)
                found = self._train(on_progress)
            with writing(path) as partial:
                found.to_parquet(partial)
            self._record.finish(self.name, [path])
        shutil.rmtree(self.folder / _TRAINING, ignore_errors=True)
        return _read(path)

    def _train(self, on_progress: Progress | None) -> pd.DataFrame:
        setting = self.setting
        run = finetune(
            setting.model,
            setting.finetuning,
            without(setting.train, self.removed),
            None,
            self.folder / _TRAINING,
            setting.seed,
            on_progress,
        )
        return class_probabilities(run.checkpoints[-1], setting.test, setting.model.max_length)

    @property
    def _record(self) -> StageRecord:
        return StageRecord(self.folder, "retraining")


def class_probabilities(checkpoint: Checkpoint, test: Corpus, max_length: int) -> pd.DataFrame:
    """Probability of each label for each test example at a checkpoint: index test id, columns labels.

    Raises: ModelError if the checkpoint's labels are not those of the corpus.
    """
    model = load_checkpoint(checkpoint.path, test.labels, max_length)
    logits = predict(model, load_tokenizer(checkpoint.path), test, max_length)
    values = torch.softmax(torch.from_numpy(logits).double(), dim=1).numpy()
    return pd.DataFrame(values, index=list(test.frame["id"]), columns=list(test.labels))


def without(corpus: Corpus, positions: Sequence[int]) -> Corpus:
    """The corpus without the rows at these positions; labels stay as they are."""
    kept = np.setdiff1d(np.arange(len(corpus)), positions)
    return corpus.take(kept.tolist())


def discard_unfinished(parent: Path, wanted: Sequence[Retraining]) -> None:
    """Delete the checkpoints of retrainings that were begun for what is not asked any more."""
    names = {retraining.name for retraining in wanted}
    for folder in parent.glob(f"*/{_TRAINING}"):
        if folder.parent.name not in names:
            shutil.rmtree(folder)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"{path}: damaged ({error}); remove its folder, and this retraining is done again"
        ) from error
