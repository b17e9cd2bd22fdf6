"""What every test may use: the folder of real data beside the checkout, where there is one.

Tests run in one process a core, so that each must keep to one thread: two that share a core wait for each other.
"""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

_BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real multilingual data and a small model, which a user's machine does not have."""
    folder = Path(os.environ.get("SPRACHBUND_TEST_DATA", _BESIDE_CHECKOUT))
    if not folder.is_dir():
        pytest.skip("no folder of real data: set SPRACHBUND_TEST_DATA to run this test")
    return folder
