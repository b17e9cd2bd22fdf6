"""The command line as a user meets it: help, version, Ctrl-C, and mistakes in a process of its own."""

import os
import re
import signal
import subprocess
import sys
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


# Sends itself a signal the first time that a file whose path ends so is opened: a test that waited
# outside for the file would sometimes come too late.
STOPS_ITSELF = """
import os, sys
number, ending = int(sys.argv.pop(1)), sys.argv.pop(1)
sent = []
def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith(ending) and not sent:
        sent.append(True)
        os.kill(os.getpid(), number)
sys.addaudithook(watch)
from sprachbund.cli import main
main()
"""


def start(
    folder: Path, *arguments: str, program: tuple[str, ...] = ("-m", "sprachbund")
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
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
    ("stage", "opened", "number"),
    [
        ("finetune", "checkpoint-4/trainer_state.json", signal.SIGINT),
        ("attribute", "seed-0.zarr.partial/ledger/train-4-0", signal.SIGINT),
        ("run", "checkpoint-8/trainer_state.json", signal.SIGTERM),
    ],
)
def test_ctrl_c_says_in_one_line_how_to_go_on_and_that_command_completes(
    folder, tmp_path, stage, opened, number
):
    out = tmp_path / "out put"
    arguments = ("study.yaml", "--output", str(out), "--set", "finetuning.epochs=6")
    if stage == "attribute":
        finetuned = start(folder, "finetune", *arguments)
        _, stderr = finetuned.communicate(timeout=300)
        assert finetuned.returncode == 0, stderr
    itself = ("-c", STOPS_ITSELF, str(int(number)), opened)
    process = start(folder, stage, *arguments, program=itself)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stdout + stderr
    assert errors_of(stderr) == [
        "Stopped; what is finished is kept. To go on: sprachbund "
        f"{stage} study.yaml --output '{out}' --set finetuning.epochs=6"
    ]
    assert not list(out.glob("influence/*.zarr"))
    assert list(out.glob("influence/*.partial/ledger/*")) or stage != "attribute"
    kept = {
        path: path.stat().st_mtime_ns for path in out.glob("runs/*/checkpoint-?/trainer_state.json")
    }
    process = start(folder, stage, *arguments)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert len(list(out.glob("runs/seed-0/checkpoint-*"))) == 6 + 1
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
