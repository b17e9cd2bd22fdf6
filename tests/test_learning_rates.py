"""Where the learning rates are not recorded exactly, the run is refused or the doubt is told."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from transformers import get_cosine_schedule_with_warmup

from sprachbund.errors import RunError, SprachbundWarning
from sprachbund.runs import Run
from sprachbund.runs.rate_recorder import LearningRateRecorder
from trainer_runs import PlainRun, edit_scheduler, edit_state, train, train_plain_run


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory) -> PlainRun:
    return train_plain_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def run(tmp_path, plain_run) -> Path:
    return Path(shutil.copytree(plain_run.folder, tmp_path / "run"))


def sums(folder: Path) -> list[float]:
    return [checkpoint.learning_rate for checkpoint in Run.open(folder).checkpoints]


def relog(folder: Path, rates: dict[int, float]) -> None:
    """Let the log hold exactly these rates."""
    for checkpoint in folder.glob("checkpoint-*"):
        step = int(checkpoint.name.removeprefix("checkpoint-"))
        log = [{"step": s, "learning_rate": rate} for s, rate in rates.items() if s <= step]
        edit_state(checkpoint, lambda state, log=log: state.update(log_history=log))


def adamw(model: torch.nn.Module, **options: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=1e-3, **options)


def test_the_log_of_transformers_before_4_51_is_one_step_ahead_and_read_so(run, plain_run):
    upcoming = [*plain_run.used[1:], 0.0]
    relog(run, dict(enumerate(upcoming, start=1)))
    assert sums(run) == pytest.approx([sum(plain_run.used[:5]), sum(plain_run.used[5:])], rel=1e-12)


def test_a_log_of_every_step_serves_a_scheduler_of_ones_own(tmp_path):
    def step_schedule(model):
        optimizer = adamw(model)
        return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)

    used = train(tmp_path / "logged", optimizers=step_schedule, logging_steps=1)
    assert sums(tmp_path / "logged") == pytest.approx([sum(used[:5]), sum(used[5:])], rel=1e-12)
    relog(tmp_path / "logged", {})
    with pytest.raises(RunError, match=r"not of a schedule of transformers.*LearningRateRecorder"):
        Run.open(tmp_path / "logged")


def test_a_schedule_that_contradicts_the_arguments_is_refused(tmp_path):
    def cosine(model):
        optimizer = adamw(model)
        return optimizer, get_cosine_schedule_with_warmup(optimizer, 0, 15)

    train(tmp_path, optimizers=cosine, num_train_epochs=3, logging_steps=500)
    with pytest.raises(RunError, match=r"scheduler.pt is .* training arguments \(linear\) give"):
        Run.open(tmp_path)


def test_records_that_fit_another_schedule_too_bring_a_warning(run):
    # A linear and a cosine schedule meet half-way and at the end, where the two checkpoints are.
    fresh = run.with_name("fresh")
    train(fresh, logging_steps=500)
    with pytest.warns(SprachbundWarning, match="fit cosine as well"):
        Run.open(fresh)


def test_a_run_with_enough_records_brings_no_warning(run, plain_run):
    relog(run, {4: plain_run.used[3], 8: plain_run.used[7]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Run.open(run)


def test_a_schedule_that_nothing_confirms_is_refused(run):
    relog(run, {})
    shutil.rmtree(run / "checkpoint-5")
    with pytest.raises(RunError, match="neither a logged learning rate nor a checkpoint"):
        Run.open(run)


def test_learning_rates_differing_by_parameter_are_refused(tmp_path):
    def by_group(model):
        groups = [
            {"params": list(model.bert.parameters()), "lr": 1e-4},
            {"params": list(model.classifier.parameters()), "lr": 1e-3},
        ]
        return torch.optim.AdamW(groups), None

    train(tmp_path, optimizers=by_group, logging_steps=1)
    with pytest.raises(RunError, match="groups of parameters have different learning rates"):
        Run.open(tmp_path)


def test_reduce_on_plateau_is_refused_without_a_record(tmp_path):
    train(tmp_path, lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="epoch")
    with pytest.raises(RunError, match="follows the evaluations"):
        Run.open(tmp_path)


def test_a_run_that_saved_only_the_model_needs_a_record(tmp_path):
    used = train(tmp_path, save_only_model=True)
    with pytest.raises(RunError, match=r"no scheduler.pt .*learning_rates.csv"):
        Run.open(tmp_path)
    rows = [f"{step},{rate!r}" for step, rate in enumerate(used, start=1)]
    (tmp_path / "learning_rates.csv").write_text("\n".join(["step,learning_rate", *rows]))
    assert sums(tmp_path) == pytest.approx([sum(used[:5]), sum(used[5:])], rel=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"},
        {"save_only_model": True, "lr_scheduler_type": "cosine"},
    ],
)
def test_the_recorder_makes_any_run_readable(tmp_path, arguments):
    used = train(tmp_path, callbacks=[LearningRateRecorder()], **arguments)
    assert sums(tmp_path) == pytest.approx([sum(used[:5]), sum(used[5:])], rel=1e-12)


def test_the_recorder_goes_on_where_a_run_is_resumed(tmp_path):
    used = train(tmp_path, callbacks=[LearningRateRecorder()])
    shutil.rmtree(tmp_path / "checkpoint-10")
    train(tmp_path, callbacks=[LearningRateRecorder()], resume=True)
    assert sums(tmp_path) == pytest.approx([sum(used[:5]), sum(used[5:])], rel=1e-12)
    assert len((tmp_path / "learning_rates.csv").read_text().splitlines()) == 11


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([f"{s},0.1" for s in range(1, 10)], "1 of the steps 1 to 10 are missing, first 10"),
        ([f"{s},nan" for s in range(1, 11)], "row 2"),
        (["1,0.1", "1,0.2"], "row 3: step 1 is repeated"),
        (["1;0.1"], "cannot be read"),
        ([f"{s},0.1" for s in range(1, 11)], "logged at step 1 is .* correct or remove"),
    ],
)
def test_a_record_that_is_not_whole_or_contradicts_the_log_is_refused(run, rows, message):
    (run / "learning_rates.csv").write_text("\n".join(["step,learning_rate", *rows]))
    with pytest.raises(RunError, match=message):
        Run.open(run)


def test_steps_skipped_by_mixed_precision_do_not_count(tmp_path, monkeypatch):
    skipped = {1, 2, 7}
    state = {"step": 0}

    def was_skipped(_):
        state["step"] += 1
        return state["step"] in skipped

    monkeypatch.setattr(Accelerator, "optimizer_step_was_skipped", property(was_skipped))
    used = train(tmp_path, logging_steps=4, warmup_steps=3, num_train_epochs=3)
    taken = {step: rate for step, rate in enumerate(used, start=1) if step not in skipped}
    checkpoints = Run.open(tmp_path).checkpoints
    assert [c.steps for c in checkpoints] == [3, 4, 5]
    expected = [sum(r for s, r in taken.items() if a < s <= a + 5) for a in (0, 5, 10)]
    assert [c.learning_rate for c in checkpoints] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: (r / "checkpoint-5/training_args.bin").unlink(), "no training_args.bin"),
        (lambda r: edit_scheduler(r / "checkpoint-5", _last_lr=[1e-4] * 2), "rate in scheduler.pt"),
        (lambda r: edit_scheduler(r / "checkpoint-10", last_epoch=12), "took 12 steps in 10"),
        (lambda r: edit_scheduler(r / "checkpoint-5", base_lrs=[1.0, 1.0]), "began with the rate"),
        (lambda r: edit_scheduler(r / "checkpoint-5", _last_lr=[]), "no learning rate and step"),
        (lambda r: edit_state(r / "checkpoint-5", shorten), "resumed with another schedule"),
        (lambda r: edit_state(r / "checkpoint-10", forget), "does not record the number of steps"),
        (lambda r: relog(r, {4: 0.5}), "logged at step 4 is 0.5, where .* by the training argum"),
    ],
)
def test_contradictory_or_missing_records_are_refused(run, change, message):
    relog(run, {})
    change(run)
    with pytest.raises(RunError, match=message) as error:
        Run.open(run)
    assert "learning_rates.csv" in str(error.value), "the message must say how to supply them"


def test_a_complete_log_that_contradicts_the_schedulers_is_refused(run):
    relog(run, {step: 1e-5 * step for step in range(1, 11)})
    with pytest.raises(RunError, match=r"contradict scheduler.pt"):
        Run.open(run)


def test_checkpoints_of_two_runs_in_one_folder_are_refused(run):
    train(run / "other", logging_steps=1, num_train_epochs=3, learning_rate=5e-4)
    shutil.move(run / "other/checkpoint-15", run / "checkpoint-15")
    with pytest.raises(RunError, match="come from different runs"):
        Run.open(run)


def shorten(state: dict) -> None:
    state["max_steps"] = 8


def forget(state: dict) -> None:
    del state["max_steps"]
