"""The lock of a folder: who may write, and what is left when writing fails."""

import pytest

from sprachbund.errors import StudyError
from sprachbund.folder_lock import FolderLock, only_process


def test_nothing_is_left_of_it(tmp_path):
    with only_process(tmp_path / "run"):
        assert (tmp_path / "run/lock").is_file()
    assert not (tmp_path / "run").exists()


def test_one_at_a_time(tmp_path):
    with only_process(tmp_path), pytest.raises(StudyError, match="is writing here"):
        FolderLock(tmp_path).acquire()
    FolderLock(tmp_path).acquire()


def test_where_its_holder_cannot_be_noted_it_is_not_held(tmp_path):
    (tmp_path / "lock.json").mkdir()
    lock = FolderLock(tmp_path)
    with pytest.raises(OSError, match=r"lock\.json"):
        lock.acquire()
    assert not lock.is_held


def test_what_is_beside_it_stays(tmp_path):
    with only_process(tmp_path / "run"):
        (tmp_path / "run/result").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["result"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(StudyError, match="file is a file, but must be a folder"),
        only_process(tmp_path / "file/run"),
    ):
        pass
