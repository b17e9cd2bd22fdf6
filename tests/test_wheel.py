"""The built wheel carries all that the demonstration needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

IN_THE_WHEEL = """
import pathlib, sys
import sprachbund
from sprachbund.embedded.emoji import emoji_corpus
from sprachbund.embedded.model import unpack_model
from sprachbund.report import write_report
from sprachbund.report.page import __file__ as page

assert pathlib.Path(sprachbund.__file__).is_relative_to(sys.argv[1]), sprachbund.__file__
unpack_model(pathlib.Path("model"))
print(len(emoji_corpus(("en", "ko"))), (pathlib.Path(page).parent / "templates").is_dir())
"""


@pytest.mark.slow
def test_the_wheel_works_from_an_empty_folder(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir"]
    build = [
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "--wheel-dir",
        tmp_path / "dist",
    ]
    subprocess.run([*pip, *build, ROOT], check=True, capture_output=True, text=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site = tmp_path / "site"
    install = ["install", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run([*pip, *install], check=True, capture_output=True, text=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", IN_THE_WHEEL, str(site)],
        cwd=empty,
        env=os.environ | {"PYTHONPATH": str(site)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows, templates = done.stdout.split()
    assert int(rows) > 3000
    assert templates == "True", "the report's templates are missing from the wheel"
