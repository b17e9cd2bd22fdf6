"""One retraining: from the same start, on what is left, once, and going on where it was stopped."""

import dataclasses
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from sprachbund.errors import StudyError
from sprachbund.finetuning import FinetuningConfig, finetune
from sprachbund.model_checks import warn
from sprachbund.modeling import ModelConfig, load_classifier, load_tokenizer
from sprachbund.runs.checkpoint_files import content_fingerprint
from sprachbund.validation.retraining import (
    Retraining,
    Setting,
    class_probabilities,
    discard_unfinished,
    without,
)
from tiny_models import tiny_corpus, tiny_model

CONFIG = FinetuningConfig(epochs=2, batch_size=4, learning_rate=1e-2)
TRAIN, TEST = tiny_corpus(8), tiny_corpus(3)
REMOVED = (0, 3, 4, 9)


@pytest.fixture(scope="module")
def setting(tmp_path_factory) -> Setting:
    folder = tmp_path_factory.mktemp("model")
    model = ModelConfig(path=str(tiny_model(folder / "model")), max_length=16)
    return Setting(model, CONFIG, TRAIN, TEST, 0, "start")


@pytest.fixture(scope="module")
def done(setting, tmp_path_factory) -> tuple[Retraining, pd.DataFrame]:
    retraining = Retraining(tmp_path_factory.mktemp("done"), setting, REMOVED)
    return retraining, retraining.probabilities()


def test_it_is_the_fine_tuning_of_what_is_left_from_the_same_start(setting, done, tmp_path):
    _, found = done
    left = TRAIN.take([i for i in range(len(TRAIN)) if i not in REMOVED])
    run = finetune(setting.model, CONFIG, left, None, tmp_path / "left", 0)
    pd.testing.assert_frame_equal(
        found, class_probabilities(run.checkpoints[-1], TEST, 16), check_exact=True
    )
    full = finetune(setting.model, CONFIG, TRAIN, None, tmp_path / "full", 0)
    assert content_fingerprint(full.checkpoints[0].path) == content_fingerprint(
        run.checkpoints[0].path
    ), "the head must not depend on the examples"


def test_probabilities_are_those_of_one_example_at_a_time(setting, tmp_path):
    checkpoint = finetune(setting.model, CONFIG, TRAIN, None, tmp_path / "run", 0).checkpoints[-1]
    found = class_probabilities(checkpoint, TEST, 16)
    config = ModelConfig(path=str(checkpoint.path))
    model, tokenizer = load_classifier(config, TEST.labels, 0), load_tokenizer(checkpoint.path)
    for row in TEST.frame.itertuples():
        with torch.no_grad():
            logits = model(**tokenizer(row.text, return_tensors="pt")).logits[0]
        expected = torch.softmax(logits, 0).tolist()
        assert found.loc[row.id, list(TEST.labels)].tolist() == pytest.approx(expected, abs=1e-6)


def test_what_is_done_is_not_trained_again_and_leaves_no_weights(done):
    retraining, found = done
    again = retraining.probabilities(lambda *_: pytest.fail("it trains again"))
    pd.testing.assert_frame_equal(again, found, check_exact=True)
    assert not list(retraining.folder.rglob("*.safetensors"))


def test_a_stopped_retraining_goes_on_to_the_same_probabilities(setting, done, tmp_path):
    retraining, seen = Retraining(tmp_path, setting, REMOVED), []

    def stop(step: int, *_: object) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retraining.probabilities(stop)
    assert not retraining.is_done
    found = retraining.probabilities(lambda step, *_: seen.append(step))
    assert seen[0] == 4, "it must go on at the checkpoint of the first epoch, of three steps"
    pd.testing.assert_frame_equal(found, done[1], check_exact=True)


def test_a_kill_between_the_result_and_the_cleaning_up_is_mended(setting, done, tmp_path):
    retraining = Retraining(tmp_path, setting, REMOVED)
    shutil.copytree(done[0].folder, retraining.folder)
    (retraining.folder / "run" / "checkpoint-0").mkdir(parents=True)
    retraining.probabilities(lambda *_: pytest.fail("it trains again"))
    assert not (retraining.folder / "run").exists()


def test_the_folder_depends_on_all_that_the_probabilities_depend_on(setting):
    def name(removed=REMOVED, **changes) -> str:
        return Retraining(None, dataclasses.replace(setting, **changes), removed).name

    others = [
        name((0, 3, 4)),
        name(seed=1),
        name(start="other"),
        name(train=tiny_corpus(7)),
        name(test=tiny_corpus(4)),
        name(finetuning=CONFIG.model_copy(update={"epochs": 3})),
        name(model=setting.model.model_copy(update={"max_length": 8})),
    ]
    assert len({name(), *others}) == 1 + len(others)
    assert name(finetuning=CONFIG.model_copy(update={"seeds": (0, 1)})) == name(), (
        "another seed beside it changes nothing"
    )


def test_a_damaged_result_is_an_error_that_says_what_to_do(setting, done, tmp_path):
    retraining = Retraining(tmp_path, setting, REMOVED)
    shutil.copytree(done[0].folder, retraining.folder)
    path = retraining.folder / "probabilities.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StudyError, match=r"probabilities\.parquet: damaged .*remove its folder"):
        retraining.probabilities()


def test_unfinished_retrainings_that_nobody_wants_any_more_are_deleted(setting, tmp_path):
    wanted = Retraining(tmp_path, setting, REMOVED)
    for name in (wanted.name, "seed-0-other"):
        (tmp_path / name / "run").mkdir(parents=True)
    discard_unfinished(tmp_path, [wanted])
    assert (wanted.folder / "run").is_dir()
    assert not (tmp_path / "seed-0-other" / "run").exists()


def test_the_run_itself_has_told_of_truncation(setting, tmp_path, monkeypatch):
    short = dataclasses.replace(setting, model=setting.model.model_copy(update={"max_length": 4}))
    retraining = Retraining(tmp_path, short, REMOVED)
    monkeypatch.setattr(Retraining, "_train", lambda *_: _warned())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        retraining.probabilities()


def _warned() -> pd.DataFrame:
    warn("tiny: 3 of 9 examples are longer than 4 tokens and were truncated; raise max_length")
    return pd.DataFrame({"negative": [0.5], "positive": [0.5]}, index=["en-000"])


def test_without_keeps_the_order_and_the_labels():
    left = without(TRAIN, [1, 2])
    assert left.frame["id"].tolist() == np.delete(TRAIN.frame["id"].to_numpy(), [1, 2]).tolist()
    assert left.labels == TRAIN.labels
    negative = np.flatnonzero(TRAIN.frame["label"] == "negative").tolist()
    assert without(TRAIN, negative).labels == TRAIN.labels, "a class may lose all its examples"
