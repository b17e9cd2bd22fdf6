import json
import math
import shutil
import warnings
from functools import partial

import pytest

from sprachbund.errors import RunError, SprachbundWarning
from sprachbund.runs import Run
from trainer_runs import PlainRun, edit_state, train, train_plain_run

SCHEDULES = {
    "linear": {"warmup_steps": 3},
    "cosine": {"warmup_steps": 0.25},
    "constant": {},
    "constant_with_warmup": {"warmup_steps": 4},
    "polynomial": {"lr_scheduler_kwargs": {"power": 2.0, "lr_end": 1e-5}},
    "inverse_sqrt": {"warmup_steps": 3},
    "cosine_with_restarts": {"lr_scheduler_kwargs": {"num_cycles": 2}, "warmup_steps": 2},
    "cosine_with_min_lr": {"lr_scheduler_kwargs": {"min_lr": 1e-4}, "warmup_steps": 1},
    "cosine_warmup_with_min_lr": {"lr_scheduler_kwargs": {"min_lr": 1e-4}, "warmup_steps": 3},
    "warmup_stable_decay": {"lr_scheduler_kwargs": {"num_decay_steps": 4}, "warmup_steps": 2},
}


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory) -> PlainRun:
    return train_plain_run(tmp_path_factory.mktemp("plain"))


def assert_rates(run: Run, used: list[float]) -> None:
    """Compare each interval with what the optimizer really used in it."""
    start = 0
    for checkpoint in run.checkpoints:
        expected = used[start : checkpoint.step]
        assert checkpoint.steps == len(expected)
        assert checkpoint.learning_rate == pytest.approx(math.fsum(expected), rel=1e-12), (
            f"{checkpoint.path.name} would be weighted wrongly in TracInCP"
        )
        start = checkpoint.step


def thin_log(state: dict, logging_steps: int) -> None:
    """Leave the entries that a Trainer with these logging_steps would have written."""
    state["log_history"] = [e for e in state["log_history"] if e["step"] % logging_steps == 0]


def open_quietly(folder) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SprachbundWarning)
        return Run.open(folder)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_interval_rates_are_those_the_optimizer_used(tmp_path, kind):
    used = train(
        tmp_path, num_train_epochs=3, lr_scheduler_type=kind, logging_steps=1, **SCHEDULES[kind]
    )
    for logging_steps in (1, 7, 500):
        for checkpoint in tmp_path.iterdir():
            edit_state(checkpoint, partial(thin_log, logging_steps=logging_steps))
        run = open_quietly(tmp_path)
        assert [c.step for c in run.checkpoints] == [5, 10, 15]
        assert [c.epoch for c in run.checkpoints] == [1, 2, 3]
        assert_rates(run, used)


@pytest.mark.parametrize(
    "arguments",
    [
        {"logging_steps": 7, "num_train_epochs": 3, "warmup_steps": 0.2},
        {"gradient_accumulation_steps": 3},
        {"save_strategy": "steps", "save_steps": 4},
        {"save_strategy": "steps", "save_steps": 3, "logging_strategy": "epoch"},
        {"max_steps": 7, "save_strategy": "steps", "save_steps": 2},
        {
            "lr_scheduler_type": "cosine",
            "num_train_epochs": 1.5,
            "save_steps": 2,
            "logging_steps": 3,
        },
        {"weight_decay": 0.1, "optim": "adafactor", "logging_steps": 2},
        {"logging_first_step": True, "logging_steps": 500},
    ],
    ids=lambda arguments: "-".join(map(str, arguments)),
)
def test_intervals_follow_the_trainers_own_way_of_counting(tmp_path, arguments):
    used = train(tmp_path, **arguments)
    run = open_quietly(tmp_path)
    assert run.checkpoints[-1].step == len(used)
    assert_rates(run, used)


def test_unlogged_steps_do_not_count_as_rate_zero(tmp_path):
    used = train(tmp_path, logging_steps=4, warmup_steps=2)
    logged = sum(
        entry.get("learning_rate", 0)
        for entry in json.loads((tmp_path / "checkpoint-10/trainer_state.json").read_text())[
            "log_history"
        ]
    )
    total = sum(c.learning_rate for c in Run.open(tmp_path).checkpoints)
    assert total == pytest.approx(sum(used), rel=1e-12)
    assert total > 2 * logged


def test_where_early_checkpoints_are_gone_the_first_left_stands_for_all_steps_before(tmp_path):
    used = train(tmp_path, num_train_epochs=4, save_total_limit=2, warmup_steps=2)
    run = open_quietly(tmp_path)
    assert [c.step for c in run.checkpoints] == [15, 20]
    assert run.checkpoints[0].steps == 15
    assert_rates(run, used)


def test_the_best_and_the_final_model_in_the_root_are_ignored(tmp_path):
    used = train(
        tmp_path, load_best_model_at_end=True, eval_strategy="epoch", metric_for_best_model="loss"
    )
    for file in (tmp_path / "checkpoint-10").iterdir():
        shutil.copy(file, tmp_path / file.name)
    run = open_quietly(tmp_path)
    assert [c.step for c in run.checkpoints] == [5, 10]
    assert_rates(run, used)


def test_a_resumed_run_has_the_rates_of_all_its_steps(tmp_path):
    first = train(tmp_path, logging_steps=3)
    shutil.rmtree(tmp_path / "checkpoint-10")
    second = train(tmp_path, logging_steps=3, resume=True)
    assert_rates(open_quietly(tmp_path), first[:5] + second)


def test_a_run_may_lack_a_starting_point_and_ours_has_rate_zero_there(tmp_path, plain_run):
    folder = shutil.copytree(plain_run.folder, tmp_path / "run")
    assert Run.open(folder).checkpoints[0].step == 5
    shutil.copytree(folder / "checkpoint-5", folder / "checkpoint-0")
    start = Run.open(folder).checkpoints[0]
    assert (start.step, start.epoch, start.learning_rate, start.steps) == (0, 0.0, 0.0, 0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: (c / "model.safetensors").unlink(), "has no weights"),
        (lambda c: cut(c / "model.safetensors", 5000), "model.safetensors: damaged"),
        (lambda c: cut(c / "model.safetensors", 5), "model.safetensors: cut short"),
        (
            lambda c: (c / "model.safetensors").write_bytes(b"\x08" + b"\0" * 7 + b"notjson!"),
            "header",
        ),
        (lambda c: (c / "trainer_state.json").unlink(), "incomplete, it has no trainer_state.json"),
        (lambda c: cut(c / "trainer_state.json", 40), "trainer_state.json: damaged"),
        (lambda c: cut(c / "scheduler.pt", 100), "scheduler.pt: damaged"),
        (lambda c: cut(c / "optimizer.pt", 100), "optimizer.pt: damaged"),
        (lambda c: (c / "config.json").unlink(), "no config.json"),
        (lambda c: c.rename(c.with_name("checkpoint-6")), "is of step 5"),
    ],
)
def test_a_damaged_checkpoint_is_named(tmp_path, plain_run, damage, message):
    folder = shutil.copytree(plain_run.folder, tmp_path / "run")
    damage(folder / "checkpoint-5")
    with pytest.raises(RunError, match=message) as error:
        Run.open(folder)
    assert "checkpoint-" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_run_is_refused(tmp_path, plain_run):
    with pytest.raises(RunError, match="no such folder"):
        Run.open(tmp_path / "absent")
    with pytest.raises(RunError, match="no checkpoint-<step> folder"):
        Run.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="a file, but a run is the folder"):
        Run.open(tmp_path / "file")
    with pytest.raises(RunError, match="a single checkpoint; give the folder of the run"):
        Run.open(plain_run.folder / "checkpoint-5")


def cut(path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])
