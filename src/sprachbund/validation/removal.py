"""The removal check: do predictions suffer more without their proponents than without other examples?

Choenni, Garrette and Shutova (2023) remove the top k, fine-tune again from the same start and look
at the probability of the predicted class. Here the same is done with control sets of the same
size; analysis/removal.py compares what comes out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sprachbund.analysis.files import write_contents, write_table
from sprachbund.analysis.removal import differences, mean_drops, verdicts
from sprachbund.analysis.removal_noise import INFLUENCE, RANDOM
from sprachbund.analysis.removal_tables import difference_table, drop_table, listing
from sprachbund.data.corpus import Corpus
from sprachbund.errors import ConfigurationError
from sprachbund.finetuning import FinetuningConfig
from sprachbund.influence import Influence
from sprachbund.modeling import ModelConfig, load_tokenizer
from sprachbund.runs import Run
from sprachbund.runs.checkpoint_files import content_fingerprint
from sprachbund.validation.config import RemovalConfig
from sprachbund.validation.outcomes import outcomes, removed_examples, retrainings_made
from sprachbund.validation.retraining import (
    Retraining,
    Setting,
    class_probabilities,
    discard_unfinished,
)
from sprachbund.validation.selection import Removal, Scores, removals, targets
from sprachbund.validation.similarity import bm25_scores, embedding_scores
from sprachbund.writing import write_text

VERDICTS = "verdicts.md"

Progress = Callable[[str, int, int, str], None]
"""Called with the task, the retrainings done, their number, and a note."""


@dataclass(frozen=True)
class Basis:
    """The finished runs that are checked, their influence results, and what they were made from."""

    config: RemovalConfig
    model: ModelConfig
    finetuning: FinetuningConfig
    train: Corpus
    test: Corpus
    runs: Mapping[int, Run]
    influences: Mapping[int, Influence]


def check_removal(
    basis: Basis, folder: Path, on_progress: Progress, on_notice: Callable[[str], None]
) -> list[Path]:
    """Retrain without each set of examples, and write what came of it into `folder`.

    Says beforehand how many retrainings there are. One that is done is not done again.

    Returns: the tables and the verdicts.
    Raises: ConfigurationError if k is too large; ModelError, RunError, StudyError as the training.
    """
    check_k(basis.config.k, len(basis.train))
    settings = {seed: _setting(basis, seed) for seed in basis.runs}
    asked = _removals(basis)
    retrainings = [Retraining(folder / "retrainings", settings[r.seed], r.removed) for r in asked]
    wanted = {retraining.name: retraining for retraining in retrainings}
    discard_unfinished(folder / "retrainings", list(wanted.values()))
    on_notice(announcement(basis, asked, list(wanted.values())))
    full = {
        seed: class_probabilities(run.checkpoints[-1], basis.test, basis.model.max_length)
        for seed, run in basis.runs.items()
    }
    predicted = _retrain(list(wanted.values()), on_progress)
    names = [retraining.name for retraining in retrainings]
    examples = outcomes(asked, [predicted[name] for name in names], full, basis.test)
    made = retrainings_made(asked, names, basis.train, basis.test)
    return _write(basis, examples, made, removed_examples(asked, basis.train), folder)


def check_k(ks: Sequence[int], n_train: int) -> None:
    """Raise a ConfigurationError if a k leaves less than half of the training examples."""
    most = n_train // 2
    if max(ks) > most:
        raise ConfigurationError(
            f"removal.k: {max(ks)} of {n_train} training examples cannot be removed; without more "
            f"than half of them, another model is trained: at most {most}"
        )


def announcement(basis: Basis, asked: Sequence[Removal], wanted: Sequence[Retraining]) -> str:
    """How many retrainings that is, and why."""
    config, n_targets = basis.config, len(targets(basis.test, basis.config))
    criteria = dict.fromkeys(removal.criterion for removal in asked)
    own = [name for name in criteria if name != RANDOM]
    parts = [f"{n_targets} {'languages' if config.of == 'language' else 'test examples'} x "]
    parts.append(f"{len(own)} criteria ({', '.join(own)})")
    if RANDOM in criteria:
        parts.append(f" + {config.random_draws} random draws")
    done = sum(retraining.is_done for retraining in wanted)
    return (
        f"{len(wanted)} retrainings of {basis.finetuning.epochs} epochs: ({''.join(parts)}) x "
        f"{len(config.k)} k x {len(basis.runs)} seed(s), equal sets once; {done} done already"
    )


def _setting(basis: Basis, seed: int) -> Setting:
    start = content_fingerprint(basis.runs[seed].checkpoints[0].path)
    return Setting(basis.model, basis.finetuning, basis.train, basis.test, seed, start)


def _removals(basis: Basis) -> list[Removal]:
    config, train, test = basis.config, basis.train, basis.test
    similar: dict[str, Scores] = {}
    if "embedding" in config.controls:
        similar["embedding"] = embedding_scores(_embedding_model(basis), train, test)
    if "bm25" in config.controls:
        similar["bm25"] = bm25_scores(load_tokenizer(basis.model.path), train, test)
    found = []
    for seed, influence in basis.influences.items():
        scores = {INFLUENCE: np.asarray(influence.total().values), **similar}
        found += removals(seed, scores, train, test, config)
    return found


def _embedding_model(basis: Basis) -> ModelConfig:
    path = basis.config.embedding_model
    if path is None:
        return basis.model
    return ModelConfig(path=path, max_length=basis.model.max_length)


def _retrain(retrainings: Sequence[Retraining], on_progress: Progress) -> dict[str, pd.DataFrame]:
    predicted, total = {}, len(retrainings)
    for done, retraining in enumerate(retrainings):

        def stepped(step: int, steps: int, loss: float, done: int = done) -> None:
            note = f"step {step} of {steps}, loss {loss:.3f}"
            on_progress("retraining", done, total, note)

        predicted[retraining.name] = retraining.probabilities(stepped)
        on_progress("retraining", done + 1, total, "")
    return predicted


def _write(
    basis: Basis, examples: pd.DataFrame, made: pd.DataFrame, removed: pd.DataFrame, folder: Path
) -> list[Path]:
    of = basis.config.of
    found = differences(examples, of)
    tables = [
        drop_table(mean_drops(examples), basis.config.of),
        difference_table(found, of),
        listing("removal_examples", "Every test example after every removal", examples),
        listing("removal_retrainings", "What each retraining did without", made),
        listing("removal_removed", "The training examples that were removed", removed),
    ]
    written = [path for table in tables for path in write_table(table, folder, folder.parent.name)]
    lines = "".join(f"- {sentence}\n" for sentence in verdicts(found))
    write_text(folder / VERDICTS, f"# Does influence beat the controls?\n\n{lines}")
    return [*written, write_contents(tables, (), folder), folder / VERDICTS]
