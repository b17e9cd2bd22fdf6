import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from sprachbund.errors import RunError, SprachbundWarning, StudyError
from sprachbund.finetuning import FinetuningConfig, finetune
from sprachbund.folder_lock import only_process
from sprachbund.modeling import ModelConfig, load_classifier
from tiny_models import tiny_corpus, tiny_model

CONFIG = FinetuningConfig(epochs=3, batch_size=4, learning_rate=1e-3, warmup_ratio=0.2)
LABELS = ("negative", "positive")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> ModelConfig:
    return ModelConfig(path=str(tiny_model(tmp_path_factory.mktemp("model"))), max_length=16)


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory) -> Path:
    """The folder of an uninterrupted run: 4 steps an epoch."""
    folder = tmp_path_factory.mktemp("whole") / "seed-0"
    finetune(model, CONFIG, tiny_corpus(), tiny_corpus(6), folder, seed=0)
    return folder


def weights(folder: Path) -> dict[str, bytes]:
    return {p.parent.name: p.read_bytes() for p in sorted(folder.glob("*/model.safetensors"))}


def test_a_run_has_its_starting_point_and_a_checkpoint_an_epoch(whole):
    assert sorted(weights(whole)) == [
        "checkpoint-0",
        "checkpoint-12",
        "checkpoint-4",
        "checkpoint-8",
    ]
    for checkpoint in whole.glob("checkpoint-*"):
        assert (checkpoint / "tokenizer.json").is_file()
        config = json.loads((checkpoint / "config.json").read_text())
        assert config["label2id"] == {"negative": 0, "positive": 1}


def test_the_run_records_the_rate_of_every_step(model, whole):
    run = finetune(model, CONFIG, tiny_corpus(), None, whole, seed=0)
    assert [(c.step, c.epoch, c.steps) for c in run.checkpoints] == [
        (0, 0, 0),
        (4, 1, 4),
        (8, 2, 4),
        (12, 3, 4),
    ]
    # 3 steps of warm-up, then 9 down to zero, of which the last step before zero is 1/9.
    expected = [
        1e-3 * s for s in ((0 + 1 / 3 + 2 / 3 + 1), (8 + 7 + 6 + 5) / 9, (4 + 3 + 2 + 1) / 9)
    ]
    assert [c.learning_rate for c in run.checkpoints[1:]] == pytest.approx(expected, rel=1e-12)


def test_the_starting_point_is_the_model_before_training(model, whole):
    start = load_classifier(ModelConfig(path=str(whole / "checkpoint-0")), LABELS, seed=99)
    fresh = load_classifier(model, LABELS, seed=0)
    for (name, one), (_, other) in zip(
        start.named_parameters(), fresh.named_parameters(), strict=True
    ):
        assert torch.equal(one, other), name


def test_two_runs_of_a_seed_are_identical_and_another_seed_is_not(model, whole, tmp_path):
    torch.rand(3)  # the state of the global generator must not matter
    finetune(model, CONFIG, tiny_corpus(), None, tmp_path / "again", seed=0)
    assert weights(tmp_path / "again") == weights(whole)
    finetune(model, CONFIG, tiny_corpus(), None, tmp_path / "other", seed=1)
    assert all(weights(tmp_path / "other")[k] != v for k, v in weights(whole).items())


@pytest.mark.parametrize("stop_at", [1, 4, 5, 8, 11])
def test_an_interrupted_run_goes_on_to_the_same_weights(model, whole, tmp_path, stop_at):
    def interrupt(step: int, _total: int, _loss: float) -> None:
        if step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(
            model, CONFIG, tiny_corpus(), None, tmp_path / "run", seed=0, on_progress=interrupt
        )
    seen = []
    finetune(
        model, CONFIG, tiny_corpus(), None, tmp_path / "run", 0, lambda step, *_: seen.append(step)
    )
    assert seen[0] == (stop_at - 1) // 4 * 4 + 1, "it must go on at the last checkpoint"
    assert weights(tmp_path / "run") == weights(whole)


KILLED_RUN = """
import os, signal, sys, torch
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from sprachbund.finetuning import FinetuningConfig, finetune
from sprachbund.modeling import ModelConfig
from tiny_models import tiny_corpus

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def save_half(content, path, *_, **__):
    if "checkpoint-8" in str(path) and str(path).endswith(sys.argv[4]):
        Path(path).write_bytes(b"PK half of a file")
        die()
    whole_save(content, path)

whole_save, torch.save = torch.save, save_half
finetune(
    ModelConfig(path=sys.argv[2], max_length=16),
    FinetuningConfig(epochs=3, batch_size=4, learning_rate=1e-3, warmup_ratio=0.2),
    tiny_corpus(), None, Path(sys.argv[3]), 0,
    lambda step, *_: die() if sys.argv[4] == str(step) else None,
)
"""


@pytest.fixture(scope="module")
def killed(model, tmp_path_factory) -> dict[str, tuple[Path, subprocess.Popen]]:
    """Runs that kill themselves, by the moment, all at once because each takes long to start."""
    runs = {}
    for moment in ("7", "optimizer.pt"):
        folder = tmp_path_factory.mktemp("killed") / "run"
        arguments = [str(Path(__file__).parent), model.path, str(folder), moment]
        command = [sys.executable, "-c", KILLED_RUN, *arguments]
        runs[moment] = folder, subprocess.Popen(command, stderr=subprocess.PIPE)
    return runs


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["7", "optimizer.pt"])
def test_a_run_killed_at_any_moment_goes_on_to_the_same_weights(model, whole, killed, moment):
    folder, process = killed[moment]
    _, complaint = process.communicate()
    assert process.returncode == -signal.SIGKILL, complaint.decode()
    half_written = (folder / "checkpoint-8").exists()
    assert half_written == (moment == "optimizer.pt")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SprachbundWarning)
        finetune(model, CONFIG, tiny_corpus(), None, folder, seed=0)
    told = [w for w in caught if "checkpoint-8" in str(w.message) and "removed" in str(w.message)]
    assert len(told) == half_written
    assert weights(folder) == weights(whole)


def test_a_finished_run_is_not_trained_again(model, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    finetune(
        model, CONFIG, tiny_corpus(), tiny_corpus(6), whole, 0, lambda *_: pytest.fail("trains")
    )
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_a_run_of_an_older_version_is_known_though_its_record_says_where_the_model_lay(
    model, whole, tmp_path
):
    shutil.copytree(whole, tmp_path / "run")
    record = tmp_path / "run" / "run.json"
    settings = json.loads(record.read_text(encoding="utf-8"))
    settings["model"]["path"] = "elsewhere"
    record.write_text(json.dumps(settings), encoding="utf-8")
    finetune(
        model, CONFIG, tiny_corpus(), None, tmp_path / "run", 0, lambda *_: pytest.fail("trains")
    )


def test_a_run_of_other_settings_is_not_overwritten(model, whole):
    with pytest.raises(RunError, match=r"other settings \(data, seed\)"):
        finetune(model, CONFIG, tiny_corpus(7), None, whole, seed=1)
    other = CONFIG.model_copy(update={"learning_rate": 1e-4})
    with pytest.raises(RunError, match=r"other settings \(finetuning\)"):
        finetune(model, other, tiny_corpus(), None, whole, seed=0)


def test_a_foreign_run_is_not_overwritten(model, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run/run.json").unlink()
    with pytest.raises(RunError, match="not started here"):
        finetune(model, CONFIG, tiny_corpus(), None, tmp_path / "run", seed=0)


def test_a_second_process_is_turned_away_and_deletes_nothing_half_written(model, tmp_path):
    """What looks like a damaged checkpoint to it is one that the first is writing."""
    half = tmp_path / "run" / "checkpoint-4"
    half.mkdir(parents=True)
    with (
        only_process(tmp_path / "run"),
        pytest.raises(StudyError, match=f"process {os.getpid()} on .* is writing here"),
    ):
        finetune(model, CONFIG, tiny_corpus(), None, tmp_path / "run", seed=0)
    assert half.is_dir()


def test_settings_may_change_while_there_is_no_checkpoint(model, tmp_path):
    with pytest.raises(Exception, match="no such model folder"):
        finetune(ModelConfig(path="./absent"), CONFIG, tiny_corpus(), None, tmp_path / "r", seed=0)
    run = finetune(model, CONFIG, tiny_corpus(), None, tmp_path / "r", seed=0)
    assert len(run.checkpoints) == 4


def test_other_settings_leave_nothing_of_an_earlier_starting_point(model, whole, tmp_path):
    folder = tmp_path / "run"
    finetune(model, CONFIG, tiny_corpus(), None, folder, seed=1)
    for path in folder.glob("checkpoint-*"):
        if path.name != "checkpoint-0":  # killed before the end of the first epoch
            shutil.rmtree(path)
    run = finetune(model, CONFIG, tiny_corpus(), None, folder, seed=0)
    assert run.checkpoints[0].step == 0
    assert weights(folder) == weights(whole)


def test_a_loss_that_is_not_a_number_ends_the_run_naming_the_step(model, tmp_path):
    config = FinetuningConfig(epochs=1, batch_size=4, learning_rate=1e30, lr_scheduler="constant")
    with pytest.raises(RunError, match=r"(loss|gradient norm) is (nan|inf) at step 2 of 4"):
        finetune(model, config, tiny_corpus(), None, tmp_path, seed=0)
    assert sorted(weights(tmp_path)) == ["checkpoint-0"]


def test_a_full_disk_keeps_what_is_finished_and_the_run_goes_on_later(model, whole, tmp_path):
    # A limit on the size of files fails writes half-way, as a full disk does.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step: int, _total: int, _loss: float) -> None:
        if step == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))

    try:
        with pytest.raises(
            RunError, match=r"cannot be written.*finished checkpoints are kept"
        ) as error:
            finetune(model, CONFIG, tiny_corpus(), None, tmp_path / "run", 0, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SprachbundWarning)
        finetune(model, CONFIG, tiny_corpus(), None, tmp_path / "run", seed=0)
    assert weights(tmp_path / "run") == weights(whole)


def test_a_disk_too_small_is_told_before_training(model, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(RunError, match=r"3 checkpoints need .* GB, but the disk has only 0.0 GB"):
        finetune(model, CONFIG, tiny_corpus(), None, tmp_path, seed=0)


def test_a_folder_that_cannot_be_written_is_told(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        StudyError, match=r"cannot be written: .*file is a file, but must be a folder"
    ):
        finetune(model, CONFIG, tiny_corpus(), None, tmp_path / "file" / "run", seed=0)


def test_training_prints_nothing(model, tmp_path, capfd):
    finetune(model, CONFIG, tiny_corpus(), tiny_corpus(6), tmp_path / "run", seed=0)
    assert capfd.readouterr() == ("", "")


def test_progress_is_reported_at_each_step(model, tmp_path):
    config = CONFIG.model_copy(update={"gradient_accumulation": 3, "epochs": 2})
    seen = []
    finetune(model, config, tiny_corpus(), None, tmp_path, 0, lambda *step: seen.append(step))
    assert [(step, total) for step, total, _ in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(0 < loss < 1.5 for *_, loss in seen)


def test_accumulated_batches_are_one_large_batch(tmp_path):
    # Models that swallow num_items_in_batch unread would make the gradient three times too large,
    # and 16 examples leave a last batch that is smaller than the others.
    model = ModelConfig(path=str(tiny_model(tmp_path / "model", dropout=0)), max_length=16)
    ends, losses = [], []
    for batch_size, accumulation in ((6, 1), (2, 3)):
        config = CONFIG.model_copy(
            update={"batch_size": batch_size, "gradient_accumulation": accumulation}
        )
        seen: list[float] = []
        folder = tmp_path / f"batch-{batch_size}"
        run = finetune(
            model, config, tiny_corpus(), None, folder, 0, lambda *step, to=seen: to.append(step[2])
        )
        losses.append(seen)
        ends.append(load_file(run.checkpoints[-1].path / "model.safetensors"))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for name, weight in ends[0].items():
        torch.testing.assert_close(weight, ends[1][name], rtol=1e-3, atol=1e-5)


def test_the_tiny_task_is_learnt(model, tmp_path):
    config = FinetuningConfig(epochs=8, batch_size=4, learning_rate=1e-2)
    finetune(model, config, tiny_corpus(18), tiny_corpus(6), tmp_path, seed=0)
    table = pd.read_csv(tmp_path / "accuracy.csv")
    assert (table[table["epoch"] == 8]["accuracy"] == 1).all()


@pytest.mark.parametrize(
    "wrong", [{"epoch": 3}, {"epochs": 0}, {"learning_rate": float("nan")}, {"seeds": []}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        FinetuningConfig(**wrong)
