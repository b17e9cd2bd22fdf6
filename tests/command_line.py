"""A tiny study of three files, and the real command line run on it within this process."""

import contextlib
import copy
import io
import json
import shutil
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from sprachbund.cli import main
from tiny_models import tiny_corpus, tiny_model

STUDY: dict[str, Any] = {
    "model": "model",
    "data": {"train": "train.jsonl", "test": "test.jsonl"},
    "languages": {"train": ["en", "de"], "test": ["en", "de"]},
    "train_per_language": 8,
    "test_per_language": 2,
    "finetuning": {"epochs": 2, "learning_rate": 1e-3, "batch_size": 4},
    "analysis": {"k": 4},
}
INPUTS = ("study.yaml", "train.jsonl", "test.jsonl", "model")
SKIPPED = "(nothing has changed: skipped)"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: its exit status and what it printed."""

    status: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """The lines of stderr, without warnings."""
        lines = self.stderr.splitlines()
        return [line for line in lines if line and not line.startswith("warning: ")]


def sprachbund(*arguments: str) -> Outcome:
    """Run a command in the present folder; the handlers of signals are left as they were."""
    stdout, stderr, status = io.StringIO(), io.StringIO(), 0
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with (
        mock.patch.object(sys, "argv", ["sprachbund", *arguments]),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return Outcome(status, stdout.getvalue(), stderr.getvalue())


def run_study(*arguments: str) -> Outcome:
    return sprachbund("run", "study.yaml", "--output", "out", *arguments)


@dataclass
class TinyStudy:
    """A folder with a study file, two files of rows and a model; `pristine` is a copy to mend it from."""

    folder: Path
    pristine: Path
    study: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(STUDY))

    def set(self, **keys: Any) -> None:
        """Change keys of the study file; `finetuning={...}` adds to what the section has."""
        for key, value in keys.items():
            old = self.study.get(key)
            is_section = isinstance(old, dict) and isinstance(value, dict)
            self.study[key] = {**old, **value} if is_section else value
        self.write("study.yaml", yaml.safe_dump(self.study, allow_unicode=True))

    def write(self, name: str, content: str | bytes) -> None:
        data = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(data)

    def rows(self, name: str = "train.jsonl") -> list[dict[str, Any]]:
        text = (self.folder / name).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def write_rows(self, rows: list[dict[str, Any]], name: str = "train.jsonl") -> None:
        self.write(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def change_row(self, number: int, name: str = "train.jsonl", **fields: Any) -> None:
        """Set fields of the row on a 1-based line; None removes one."""
        rows = self.rows(name)
        for key, value in fields.items():
            rows[number - 1][key] = value
            if value is None:
                del rows[number - 1][key]
        self.write_rows(rows, name)

    def mend(self) -> None:
        """Bring the inputs back, and leave what was computed."""
        for name in INPUTS:
            remove(self.folder / name)
            copy_of = shutil.copytree if (self.pristine / name).is_dir() else shutil.copy2
            copy_of(self.pristine / name, self.folder / name)

    def computed(self) -> dict[str, bytes]:
        """Checkpoints, accuracy and influence: what takes time to compute."""
        out = self.folder / "out"
        kept = [*out.glob("runs/*/checkpoint-*/*"), *out.glob("runs/*/accuracy.csv")]
        kept += [path for path in out.glob("influence/**/*") if path.is_file()]
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in kept}


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_inputs(folder: Path) -> None:
    """Write study.yaml, train.jsonl, test.jsonl and model/: twelve training items and four others, in two languages."""
    tiny_model(folder / "model")
    frame = tiny_corpus(items=16).frame
    frame["text"] += (frame["item"].astype(int) // 6).map({0: "", 1: " thing", 2: " very"})
    study = TinyStudy(folder, folder)
    study.set()
    is_test = frame["item"].astype(int) >= 12
    for name, part in (("train.jsonl", frame[~is_test]), ("test.jsonl", frame[is_test])):
        study.write_rows(part[["language", "item", "text", "label"]].to_dict("records"), name)
