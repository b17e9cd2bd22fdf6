import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sprachbund import accuracy
from sprachbund.accuracy import evaluate_run, predict
from sprachbund.errors import ModelError, SprachbundWarning, StudyError
from sprachbund.finetuning import FinetuningConfig, finetune
from sprachbund.modeling import ModelConfig, load_classifier, load_tokenizer
from sprachbund.runs import Run
from tiny_models import tiny_corpus, tiny_model

LABELS = ("negative", "positive")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    model = ModelConfig(path=str(tiny_model(folder / "model")), max_length=16)
    config = FinetuningConfig(epochs=2, batch_size=4, learning_rate=1e-2)
    return finetune(model, config, tiny_corpus(), None, folder / "run", seed=0).path


@pytest.fixture
def run(trained, tmp_path) -> Run:
    return Run.open(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def evaluated(monkeypatch) -> list[int]:
    """The steps of the checkpoints that are computed, as they are."""
    steps: list[int] = []
    summarise = accuracy._by_language
    monkeypatch.setattr(
        accuracy, "_by_language", lambda c, *rest: steps.append(c.step) or summarise(c, *rest)
    )
    return steps


def test_accuracy_and_loss_are_those_of_one_example_at_a_time(run):
    corpus = tiny_corpus(7)
    table = evaluate_run(run, corpus, max_length=16, batch_size=3)
    assert list(table.columns) == ["checkpoint", "epoch", "language", "n", "accuracy", "loss"]
    assert table["checkpoint"].tolist() == [0, 0, 4, 4, 8, 8]
    assert table["language"].tolist() == ["en", "de"] * 3
    path = run.checkpoints[-1].path
    model, tokenizer = load_classifier(ModelConfig(path=str(path)), LABELS, 0), load_tokenizer(path)
    for row in table[table["checkpoint"] == 8].itertuples():
        hits, losses = [], []
        for _, example in corpus.frame[corpus.frame["language"] == row.language].iterrows():
            with torch.no_grad():
                logits = model(**tokenizer(example["text"], return_tensors="pt")).logits[0]
            label = LABELS.index(example["label"])
            hits.append(int(logits.argmax()) == label)
            losses.append(-math.log(math.exp(logits[label]) / sum(map(math.exp, logits))))
        assert row.n == len(hits)
        assert row.accuracy == pytest.approx(np.mean(hits))
        assert row.loss == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_predictions_do_not_depend_on_batch_size_or_order(run, batch_size):
    path = run.checkpoints[-1].path
    model, tokenizer = load_classifier(ModelConfig(path=str(path)), LABELS, 0), load_tokenizer(path)
    corpus = tiny_corpus(6)
    logits = predict(model, tokenizer, corpus, 16, batch_size)
    reference = np.vstack([predict(model, tokenizer, one, 16) for one in rows_of(corpus)])
    np.testing.assert_allclose(logits, reference, rtol=1e-4, atol=1e-6)


def test_finished_checkpoints_are_not_computed_again(run, evaluated):
    table = evaluate_run(run, tiny_corpus(6), max_length=16)
    path = run.path / "accuracy.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:3] + lines[5:]) + "\n")
    evaluated.clear()
    again = evaluate_run(run, tiny_corpus(6), max_length=16)
    assert evaluated == [4]
    pd.testing.assert_frame_equal(again, table, check_exact=True)
    assert path.read_text().splitlines() == lines


def test_a_checkpoint_that_was_replaced_is_computed_again(run, evaluated):
    evaluate_run(run, tiny_corpus(6), max_length=16)
    evaluated.clear()
    steps = {checkpoint.step: checkpoint.path for checkpoint in run.checkpoints}
    shutil.copy(steps[0] / "model.safetensors", steps[4] / "model.safetensors")
    table = evaluate_run(run, tiny_corpus(6), max_length=16).set_index("checkpoint")
    assert evaluated == [4]
    assert table.loc[4, "loss"].tolist() == table.loc[0, "loss"].tolist()


@pytest.mark.parametrize("change", [{"corpus": tiny_corpus(5)}, {"max_length": 4}])
@pytest.mark.filterwarnings("ignore:.*truncated")
def test_another_corpus_or_length_is_computed_anew(run, evaluated, change):
    arguments = {"corpus": tiny_corpus(6), "max_length": 16}
    evaluate_run(run, **arguments)
    evaluated.clear()
    evaluate_run(run, **{**arguments, **change})
    assert evaluated == [0, 4, 8]


@pytest.mark.parametrize(
    ("name", "content"),
    [("accuracy.csv", "checkpoint,epoch\nx,y\n"), ("accuracy.json", "[]"), ("accuracy.json", "{}")],
)
def test_a_damaged_table_is_made_again_with_a_warning(run, evaluated, name, content):
    evaluate_run(run, tiny_corpus(6), max_length=16)
    (run.path / name).write_text(content)
    evaluated.clear()
    with pytest.warns(SprachbundWarning, match=r"accuracy\.csv: cannot be read"):
        evaluate_run(run, tiny_corpus(6), max_length=16)
    assert evaluated == [0, 4, 8]


def test_progress_counts_checkpoints(run):
    seen = []
    evaluate_run(run, tiny_corpus(6), on_progress=lambda *step: seen.append(step))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_labels_other_than_the_runs_are_refused(run):
    corpus = tiny_corpus(6)
    swapped = type(corpus)(corpus.frame, tuple(reversed(corpus.labels)), corpus.name)
    with pytest.raises(ModelError, match="its classes are, in order, negative, positive"):
        evaluate_run(run, swapped)


def test_a_table_that_cannot_be_written_is_told(run):
    (run.path / "accuracy.csv.partial").mkdir()
    with pytest.raises(StudyError, match=r"accuracy\.csv: cannot be written"):
        evaluate_run(run, tiny_corpus(6))


def rows_of(corpus):
    for start in range(len(corpus)):
        frame = corpus.frame.iloc[start : start + 1].reset_index(drop=True)
        yield type(corpus)(frame, corpus.labels, corpus.name)
