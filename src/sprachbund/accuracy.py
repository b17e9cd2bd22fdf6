"""Accuracy and loss of every checkpoint by language, kept in accuracy.csv in the run's folder."""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sprachbund.data.corpus import Corpus
from sprachbund.errors import SprachbundWarning
from sprachbund.modeling import collate, encode, load_checkpoint, load_tokenizer
from sprachbund.runs import Checkpoint, Run
from sprachbund.runs.checkpoint_files import content_fingerprint
from sprachbund.writing import writing

ACCURACY = "accuracy.csv"
_TYPES = {"checkpoint": int, "epoch": float, "n": int, "accuracy": float, "loss": float}
COLUMNS = ("checkpoint", "epoch", "language", "n", "accuracy", "loss")


def evaluate_run(
    run: Run,
    corpus: Corpus,
    *,
    max_length: int = 128,
    batch_size: int = 64,
    folder: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Evaluate each checkpoint on a corpus; those already in accuracy.csv are not computed again.

    accuracy.csv is in `folder`, by default the run's. Calls `on_progress` with the checkpoints done and
    their number. Returns: the columns checkpoint (step), epoch, language, n, accuracy (0 to 1), loss (mean
    cross-entropy, in nats), in order of step and of the corpus's languages.

    Raises: ModelError if a checkpoint's labels are not those of the corpus; StudyError if the table
    cannot be written.
    """
    path = (folder or run.path) / ACCURACY
    table = _finished(path, run, corpus, max_length)
    finished = set(table["checkpoint"])
    missing = [checkpoint for checkpoint in run.checkpoints if checkpoint.step not in finished]
    if missing:
        # A run has one tokenizer, and encoding once warns of truncated examples once.
        tokenizer = load_tokenizer(missing[0].path)
        encoded = encode(corpus, tokenizer, max_length)
    for done, checkpoint in enumerate(run.checkpoints, start=1):
        if checkpoint in missing:
            model = load_checkpoint(checkpoint.path, corpus.labels, max_length)
            logits = predict_encoded(model, tokenizer, encoded, batch_size)
            rows = _by_language(checkpoint, corpus, logits)
            table = rows if table.empty else pd.concat([table, rows], ignore_index=True)
            table = table.sort_values("checkpoint", kind="stable", ignore_index=True)
            _write(path, table)
        if on_progress is not None:
            on_progress(done, len(run.checkpoints))
    return table


def predict(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    max_length: int,
    batch_size: int = 64,
) -> np.ndarray:
    """Logits [rows, labels], float32, in corpus order, in the model's present mode.

    Rows of like length share a batch, so that little is computed on padding.
    """
    return predict_encoded(model, tokenizer, encode(corpus, tokenizer, max_length), batch_size)


def predict_encoded(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[dict[str, Any]],
    batch_size: int = 64,
) -> np.ndarray:
    """As `predict`, of rows that are tokenised already."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
    logits = np.zeros((len(rows), model.config.num_labels), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = collate([rows[i] for i in chosen], tokenizer)
            del batch["labels"]
            batch = {name: value.to(model.device) for name, value in batch.items()}
            logits[chosen] = model(**batch).logits.float().cpu().numpy()
    return logits


def _by_language(checkpoint: Checkpoint, corpus: Corpus, logits: np.ndarray) -> pd.DataFrame:
    labels = corpus.label_index
    scores = torch.log_softmax(torch.from_numpy(logits).double(), dim=-1).numpy()
    frame = pd.DataFrame(
        {
            "language": corpus.frame["language"],
            "accuracy": logits.argmax(axis=1) == labels,
            "loss": -scores[np.arange(len(labels)), labels],
        }
    )
    means = frame.groupby("language", sort=False).agg(
        n=("accuracy", "size"), accuracy=("accuracy", "mean"), loss=("loss", "mean")
    )
    means = means.reset_index()
    means.insert(0, "checkpoint", checkpoint.step)
    means.insert(1, "epoch", checkpoint.epoch)
    return means[list(COLUMNS)]


def _finished(path: Path, run: Run, corpus: Corpus, max_length: int) -> pd.DataFrame:
    """What the table at `path` already holds of the run's checkpoints as they are now, if made from the same corpus."""
    note = path.with_suffix(".json")
    contents = {str(one.step): content_fingerprint(one.path) for one in run.checkpoints}
    provenance = {"corpus": corpus.fingerprint(), "max_length": max_length, "checkpoints": contents}
    table, found = pd.DataFrame(columns=list(COLUMNS)), {}
    try:
        if path.is_file():
            found = json.loads(note.read_text(encoding="utf-8"))
            if all(found[key] == provenance[key] for key in ("corpus", "max_length")):
                # As text first: pandas' own reading of numbers is not exact to the last digit.
                kept = pd.read_csv(path, dtype=str, keep_default_na=False).astype(_TYPES)
                same = {
                    int(step)
                    for step, was in found["checkpoints"].items()
                    if contents.get(step) == was
                }
                table = kept[kept["checkpoint"].isin(same)][list(COLUMNS)].reset_index(drop=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path}: cannot be read ({error}), so it is made again"
        warnings.warn(message, SprachbundWarning, stacklevel=3)
    if found != provenance:
        with writing(note) as partial:
            # The old table goes before the note changes, or a kill in between would pair the two.
            path.unlink(missing_ok=True)
            partial.write_text(json.dumps(provenance), encoding="utf-8")
        if not table.empty:
            _write(path, table)
    return table


def _write(path: Path, table: pd.DataFrame) -> None:
    with writing(path) as partial:
        table.to_csv(partial, index=False)
