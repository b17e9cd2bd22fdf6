"""What the last checkpoint of a run predicts for each single test example, so that runs can be compared in pairs."""

from pathlib import Path

import pandas as pd

from sprachbund.accuracy import predict_encoded
from sprachbund.data.corpus import Corpus
from sprachbund.modeling import Encoder, load_checkpoint
from sprachbund.runs import Run
from sprachbund.writing import writing

PREDICTIONS = "predictions.parquet"


def write_predictions(
    run: Run, corpus: Corpus, path: Path, max_length: int, encoder: Encoder
) -> Path:
    """Write the columns id, language, item, group, label, prediction (a label) in the order of the corpus.

    Raises: ModelError if the checkpoint does not fit the corpus; StudyError if the disk refuses.
    """
    checkpoint = run.checkpoints[-1].path
    model = load_checkpoint(checkpoint, corpus.labels, max_length)
    logits = predict_encoded(model, encoder.tokenizer, encoder(corpus))
    labels = [corpus.labels[position] for position in logits.argmax(axis=1).tolist()]
    examples = corpus.frame[["id", "language", "item", "group", "label"]]
    with writing(path) as partial:
        examples.assign(prediction=labels).to_parquet(partial, index=False)
    return path


def read_predictions(path: Path) -> pd.DataFrame:
    """What `write_predictions` wrote."""
    return pd.read_parquet(path)
