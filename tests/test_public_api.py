"""The public names: all there, and cheap until used."""

import subprocess
import sys

import sprachbund


def test_every_public_name_can_be_imported():
    for name in sprachbund.__all__:
        assert getattr(sprachbund, name).__name__ == name
    assert set(sprachbund.__all__) <= set(dir(sprachbund))


def test_asking_for_help_does_not_wait_for_torch():
    code = "import sys, sprachbund.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
