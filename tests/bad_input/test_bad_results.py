"""A study's own folder: damaged, of other settings, not writable, or asked for what is not there yet."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from mistakes import RUN, Mistake, check, check_message, each

from command_line import SKIPPED, TinyStudy, run_study, sprachbund


def keys(**changed):
    return lambda study: study.set(**changed)


def nothing(study):
    """The mistake is in the command itself."""


MISTAKES = [
    Mistake(
        "a run of other settings",
        keys(finetuning={"batch_size": 8}),
        ("out/runs/seed-0: holds a run with other settings (finetuning)", "another folder"),
    ),
    Mistake(
        "a loss that is not a number",
        keys(finetuning={"learning_rate": 1e20}),
        ("elsewhere/runs/seed-0", "at step", "lower the learning rate"),
        ("run", "study.yaml", "--output", "elsewhere"),
    ),
    Mistake(
        "a file for the study's folder",
        nothing,
        ("test.jsonl is a file, but must be a folder", "--output"),
        ("run", "study.yaml", "--output", "test.jsonl"),
    ),
    Mistake(
        "a file within the study's folder",
        nothing,
        ("test.jsonl is a file, but must be a folder", "--output"),
        ("run", "study.yaml", "--output", "test.jsonl/out"),
    ),
    *(
        Mistake(
            f"{stage} before the stage it needs",
            nothing,
            ("elsewhere", "not there yet", "run `sprachbund ", "` first"),
            (stage, "study.yaml", "--output", "elsewhere"),
        )
        for stage in ("attribute", "analyse", "report")
    ),
]


@each(MISTAKES)
def test_a_folder_that_cannot_be_used_is_told_in_one_line_and_loses_nothing(study, mistake):
    check(study, mistake)


def again(study: TinyStudy, *stages: str) -> None:
    """Forget that these stages are finished, so that they look at what they have."""
    for stage in stages:
        (study.folder / "out" / "stages" / f"{stage}.json").unlink()


def checkpoint(study: TinyStudy, step: int) -> Path:
    return study.folder / "out" / "runs" / "seed-0" / f"checkpoint-{step}"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "truncated weights": (lambda c: cut(c / "model.safetensors"), "model.safetensors: damaged"),
    "no trainer state": (lambda c: (c / "trainer_state.json").unlink(), "no trainer_state.json"),
    "a garbled trainer state": (
        lambda c: (c / "trainer_state.json").write_text("{]"),
        "trainer_state.json: damaged, not valid JSON",
    ),
}


@pytest.mark.parametrize("is_removed_by_hand", [True, False])
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("step", [4, 8])
def test_a_damaged_checkpoint_is_named_by_attribution_and_made_again_by_fine_tuning(
    study, step, damage, is_removed_by_hand
):
    before = study.computed()
    harm, says = DAMAGE[damage]
    harm(checkpoint(study, step))
    again(study, "attribute")
    check_message(
        sprachbund("attribute", *RUN[1:]),
        (f"out/runs/seed-0/checkpoint-{step}", says, "remove the folder"),
    )
    if is_removed_by_hand:
        shutil.rmtree(checkpoint(study, step))
    else:
        again(study, "finetune")
    outcome = run_study()
    assert outcome.status == 0, outcome.stderr
    weights = [name for name in before if name.endswith("model.safetensors")]
    after = study.computed()
    assert {n: after[n] for n in weights} == {n: before[n] for n in weights}
    untouched = f"runs/seed-0/checkpoint-{step - 4}/"
    assert all(after[n] == before[n] for n in before if n.startswith(untouched))


@pytest.mark.parametrize("step", [0, 4, 8])
def test_a_checkpoint_that_was_deleted_is_made_again_and_never_left_out(study, step):
    before = study.computed()
    shutil.rmtree(checkpoint(study, step))
    outcome = run_study()
    assert outcome.status == 0, outcome.stderr
    name = f"runs/seed-0/checkpoint-{step}/model.safetensors"
    assert study.computed()[name] == before[name]


def test_a_damaged_chunk_of_influence_is_named_and_never_a_number(study):
    before = study.computed()
    chunk = study.folder / "out/influence/seed-0.zarr/influence/c/1/0/0"
    sound = chunk.read_bytes()
    damaged = bytearray(sound)
    damaged[len(damaged) // 2] ^= 1
    chunk.write_bytes(bytes(damaged))
    again(study, "analyse")
    check_message(sprachbund(*RUN), ("out/influence/seed-0.zarr", "influence/c/1/0/0"))
    shutil.rmtree(study.folder / "out/influence/seed-0.zarr")
    outcome = run_study()
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.count(SKIPPED) == 3, "the fine-tuning was not needed again"
    after = study.computed()
    scores = "influence/seed-0.zarr/influence/c/1/0/0"
    assert after[scores] == before[scores]


def test_accuracy_that_was_deleted_is_measured_again(study):
    before = study.computed()
    (study.folder / "out/runs/seed-0/accuracy.csv").unlink()
    again(study, "analyse")
    outcome = run_study()
    assert outcome.status == 0, outcome.stderr
    assert study.computed() == before
    assert outcome.stdout.count(SKIPPED) == 3, "neither the sample, the influence nor the report"


def test_a_garbled_note_of_the_settings_of_a_run_is_named(study):
    (study.folder / "out/runs/seed-0/run.json").write_text("{", encoding="utf-8")
    again(study, "finetune")
    before = study.computed()
    check_message(sprachbund(*RUN), ("out/runs/seed-0/run.json: damaged",))
    assert study.computed() == before


@pytest.mark.parametrize("stage", ["analyse", "report", "attribute", "data"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_refuses_a_stage_is_told_in_one_line_and_the_next_run_goes_on(
    study, monkeypatch, stage, number
):
    """The operating system refuses every file that is opened for writing in the study's folder."""
    again(study, stage)
    before = study.computed()
    if stage == "attribute":
        shutil.rmtree(study.folder / "out/influence")
        before = study.computed()
    with monkeypatch.context() as patch:
        refuse_writing(patch, number)
        check_message(sprachbund(*RUN), ("out/", "cannot be written", os.strerror(number)))
    assert before.items() <= study.computed().items()
    outcome = run_study()
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.count(SKIPPED) >= 3


def refuse_writing(patch: pytest.MonkeyPatch, number: int) -> None:
    import io

    original = io.open

    def refusing(file, mode="r", *arguments, **options):
        if isinstance(file, str | Path) and set(mode) & set("wax+"):
            raise OSError(number, os.strerror(number), str(file))
        return original(file, mode, *arguments, **options)

    patch.setattr("io.open", refusing)
    patch.setattr("builtins.open", refusing)


def test_a_garbled_note_of_a_stage_means_that_the_stage_looks_again(study):
    (study.folder / "out/stages/attribute.json").write_text("{", encoding="utf-8")
    outcome = run_study()
    assert outcome.status == 0, outcome.stderr
    note = json.loads((study.folder / "out/stages/attribute.json").read_text(encoding="utf-8"))
    assert note["outputs"] == ["influence/seed-0.zarr"]
