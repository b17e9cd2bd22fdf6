"""One finished study, made once; each test gets a copy of it to break."""

import shutil
from pathlib import Path

import pytest

from command_line import TinyStudy, make_inputs, run_study


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    make_inputs(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outcome = run_study()
    assert outcome.status == 0, outcome.stderr
    assert outcome.errors == [], "a good study has nothing to say on stderr"
    return folder


@pytest.fixture
def study(pristine, tmp_path, monkeypatch) -> TinyStudy:
    folder = tmp_path / "study"
    shutil.copytree(pristine, folder)
    monkeypatch.chdir(folder)
    return TinyStudy(folder, pristine)
