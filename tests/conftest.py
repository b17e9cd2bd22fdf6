"""What every test may use: the folder of real data beside the checkout, where there is one."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real multilingual data and a small model, which a user's machine does not have."""
    folder = Path(os.environ.get("SPRACHBUND_TEST_DATA", _BESIDE_CHECKOUT))
    if not folder.is_dir():
        pytest.skip("no folder of real data: set SPRACHBUND_TEST_DATA to run this test")
    return folder
