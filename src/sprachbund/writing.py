"""Files that are written whole or not at all, and what to tell the user where that fails."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sprachbund.errors import StudyError

_REMEDIES = {
    errno.ENOSPC: "free some space, then run again",
    errno.EDQUOT: "free some space, then run again",
    errno.EACCES: "allow writing there, or choose another folder with --output",
    errno.EPERM: "allow writing there, or choose another folder with --output",
    errno.EROFS: "choose another folder with --output",
}


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, which takes its place once the block ends well.

    Raises: StudyError if the disk refuses.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise StudyError(f"{path}: {write_problem(path, error)}") from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises: StudyError if the disk refuses."""
    with writing(path) as partial:
        partial.write_bytes(text.encode())


def write_problem(path: Path, error: OSError) -> str:
    """Why a file cannot be written, and what helps."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        file = next(parent for parent in path.parents if parent.exists())
        return f"cannot be written: {file} is a file, but must be a folder; choose another with --output"
    remedy = _REMEDIES.get(error.errno or 0, "mend it, then run again")
    return f"cannot be written: {error.strerror or error}; {remedy}; what is finished is kept"
