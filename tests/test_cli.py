"""The command line as a user meets it: help, version, Ctrl-C, and mistakes in a process of its own."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sprachbund as package
from command_line import make_inputs, sprachbund

COMMANDS = ("run", "finetune", "attribute", "removal", "analyse", "report", "mix", "plan")
WITHOUT_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def test_help_names_every_command_and_where_to_start():
    outcome = sprachbund("--help")
    assert outcome.status == 0
    assert "Start with: sprachbund demo" in outcome.stdout
    assert all(command in outcome.stdout for command in ("demo", *COMMANDS))


def test_no_arguments_show_the_help():
    outcome = sprachbund()
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout == sprachbund("--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_stage_shows_its_options(command):
    outcome = sprachbund(command, "--help")
    text = WITHOUT_COLOURS.sub("", outcome.stdout)
    assert outcome.status == 0
    assert all(part in text for part in ("STUDY.yaml", "--output", "-o", "--set", "KEY=VALUE"))


def test_help_of_the_demo_shows_its_option():
    assert "--output" in WITHOUT_COLOURS.sub("", sprachbund("demo", "-h").stdout)


def test_the_version_is_printed():
    outcome = sprachbund("--version")
    assert (outcome.status, outcome.stdout) == (0, f"sprachbund {package.__version__}\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study with blanks")
    make_inputs(folder)
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sprachbund", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A background job's children inherit an ignored SIGINT: here it must arrive.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def errors_of(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line and not line.startswith("warning: ")]


@pytest.mark.slow
def test_a_mistake_in_a_process_of_its_own_ends_in_one_line_and_status_2(folder):
    process = start(folder, "run", "study.yaml", "--set", "finetuning.epochs=three")
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 2
    assert stdout == "", "nothing has begun yet"
    assert stderr == (
        'error: --set finetuning.epochs=three: found "three"; expected a whole number\n'
    )


@pytest.mark.slow
def test_a_full_disk_in_a_process_of_its_own_ends_in_one_line_and_status_2(folder, tmp_path):
    """Every byte written to /dev/full is refused by the operating system itself."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.yaml.partial").symlink_to("/dev/full")
    process = start(folder, "run", "study.yaml", "--output", str(tmp_path / "out"))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 2
    (line,) = errors_of(stderr)
    assert line.startswith(f"error: {tmp_path}/out/study.yaml: cannot be written: No space left")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "is_under_way", "number"),
    [
        ("finetune", "runs/seed-0/checkpoint-4/trainer_state.json", signal.SIGINT),
        ("attribute", "influence/seed-0.zarr.partial/ledger/*", signal.SIGINT),
        ("run", "runs/seed-0/checkpoint-0", signal.SIGTERM),
    ],
)
def test_ctrl_c_says_in_one_line_how_to_go_on_and_that_command_completes(
    folder, tmp_path, stage, is_under_way, number
):
    out = tmp_path / "out put"
    epochs = "finetuning.epochs=60" if stage == "finetune" else "finetuning.epochs=12"
    arguments = ("study.yaml", "--output", str(out), "--set", epochs)
    if stage == "attribute":
        finetuned = start(folder, "finetune", *arguments)
        _, stderr = finetuned.communicate(timeout=300)
        assert finetuned.returncode == 0, stderr
    process = start(folder, stage, *arguments)
    wait_for(out, is_under_way, process)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stdout + stderr
    assert errors_of(stderr) == [
        "Stopped; what is finished is kept. To go on: sprachbund "
        f"{stage} study.yaml --output '{out}' --set {epochs}"
    ]
    assert not list(out.glob("influence/*.zarr")), "it was stopped too late to test anything"
    kept = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/checkpoint-?/model.*")}
    process = start(folder, stage, *arguments)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert len(list(out.glob("runs/seed-0/checkpoint-*"))) == int(epochs.partition("=")[2]) + 1
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


def wait_for(out: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Until a file that matches is there; a process that ends before is a failure."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if next(out.glob(pattern), None) is not None:
                return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise AssertionError(f"{pattern} was not written within two minutes")
