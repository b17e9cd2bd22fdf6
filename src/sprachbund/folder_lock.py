"""One process at a time writes into a folder: two would delete what the other has half written."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from sprachbund.errors import StudyError
from sprachbund.writing import write_problem


class FolderLock:
    """The right to write into a folder, kept by the operating system, so that a process that is killed gives it back.

    Who holds it stands in `lock.json` beside the lock, for the message to the other.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is touched before `acquire`."""
        self.folder = folder
        self._holder = folder / "lock.json"
        self._file = folder / "lock"
        self._lock = FileLock(self._file, timeout=0)

    @property
    def is_held(self) -> bool:
        """Whether this object holds it."""
        return bool(self._lock.is_locked)

    def acquire(self) -> None:
        """Take the lock of the folder, which is made.

        Raises: StudyError if another process has it; OSError, and it is not held, if the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise StudyError(
                f"{self.folder}: {self._other_process()} is writing here; wait until it has ended, or end it"
            ) from error
        holder = {"pid": os.getpid(), "host": socket.gethostname()}
        try:
            self._holder.write_text(json.dumps(holder), encoding="utf-8")
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Let another process go on."""
        self._lock.release(force=True)

    def remove(self) -> None:
        """Release the lock and delete its files, and the folder if nothing else is in it."""
        self._holder.unlink(missing_ok=True)
        self.release()
        with contextlib.suppress(OSError):  # another process may have come in just now
            self._file.unlink(missing_ok=True)
            self.folder.rmdir()

    def _other_process(self) -> str:
        with contextlib.suppress(OSError, ValueError, KeyError):
            holder = json.loads(self._holder.read_text(encoding="utf-8"))
            return f"process {holder['pid']} on {holder['host']}"
        return "another process"


@contextlib.contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder inside; see `FolderLock.remove` for what is left of it.

    Raises: StudyError if another process has it, or the folder cannot be written.
    """
    lock = FolderLock(folder)
    try:
        lock.acquire()
    except OSError as error:
        raise StudyError(f"{folder}: {write_problem(folder, error)}") from error
    try:
        yield
    finally:
        lock.remove()
