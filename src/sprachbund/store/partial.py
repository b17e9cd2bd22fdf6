"""The folder `<path>.partial` of an unfinished influence result: its lock, its ledger, its store.

`store.zarr` is the result so far; `ledger/` has one empty file for each piece that is whole, made
only after the piece has reached the disk; what is not in the ledger does not count.
"""

import contextlib
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

from sprachbund.errors import InfluenceError, SprachbundWarning, StudyError
from sprachbund.folder_lock import FolderLock
from sprachbund.store.chunks import (
    METADATA_DIGEST,
    check_chunks,
    chunk_keys,
    metadata_digest,
    read_attributes,
    sync,
)
from sprachbund.store.contents import Contents, create
from sprachbund.store.layout import VARIABLES
from sprachbund.store.pieces import Piece, all_pieces


class PartialFolder:
    """An unfinished result beside the `path` that it will have."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is touched before `acquire`."""
        self.path = path
        self.folder = path.with_name(path.name + ".partial")
        self.root = self.folder / "store.zarr"
        self._ledger = self.folder / "ledger"
        self._lock = FolderLock(self.folder)

    @property
    def is_held(self) -> bool:
        """Whether this process may write."""
        return self._lock.is_held

    def acquire(self) -> None:
        """Take the lock. Raises: StudyError if another process has it or it cannot be written."""
        with self.writing():
            self._lock.acquire()

    def release(self) -> None:
        """Let another process go on."""
        self._lock.release()

    def resume(self, contents: Contents) -> bool:
        """Return whether there is a store of exactly these contents; prove all that counts.

        Raises: InfluenceError that names the chunk if a piece in the ledger is damaged.
        """
        if not (self.root / "zarr.json").is_file():
            return False
        attributes = read_attributes(self.root)
        if METADATA_DIGEST not in attributes:  # killed while it was laid out
            return False
        if attributes[METADATA_DIGEST] != metadata_digest(self.root):
            raise InfluenceError(
                f"{self.root}: a zarr.json file is damaged; delete {self.folder} to start afresh"
            )
        wanted, found = contents.fingerprints(), attributes["arguments"]
        if found != wanted:
            different = [name for name in wanted if found.get(name) != wanted[name]]
            warnings.warn(
                f"{self.folder} was begun with other arguments ({', '.join(different)}); "
                "it is discarded and attribution starts afresh",
                SprachbundWarning,
                stacklevel=4,
            )
            return False
        self._prove(contents)
        return True

    def start(self, contents: Contents) -> None:
        """Lay out an empty store, with an empty ledger, in place of what there is."""
        self.clear()
        self._ledger.mkdir()
        create(self.root, contents)

    def is_whole(self, piece: Piece) -> bool:
        """Whether the piece is in the ledger."""
        return (self._ledger / piece.name).exists()

    def enter(self, piece: Piece) -> None:
        """Bring the chunks of a piece, and their folders, to the disk; then enter it."""
        files = [self.root / key for key in piece.keys]
        folders = {
            parent for file in files for parent in file.parents if self.root in parent.parents
        }
        sync([*files, *sorted(folders)])
        (self._ledger / piece.name).touch()
        sync([self._ledger])

    def promote(self) -> None:
        """Move the store to its path; what stood there before goes when `clear` is called."""
        if self.path.exists():
            self.path.rename(self.folder / "replaced")
        self.root.rename(self.path)
        sync([self.path.parent])

    def clear(self) -> None:
        """Delete everything in the folder but the lock."""
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)

    def remove(self) -> None:
        """Delete the folder and release the lock."""
        self.clear()
        self._lock.remove()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what the operating system refuses into one clear line."""
        try:
            yield
        except OSError as error:
            raise StudyError(
                f"{error.filename or self.folder}: cannot be written: {error.strerror or error}; "
                "free space or allow writing, then run again: what is finished is kept"
            ) from error

    def _prove(self, contents: Contents) -> None:
        for path in self.root.rglob("*.partial"):  # what a killed Zarr write leaves behind
            path.unlink()
        fixed = (key for key in chunk_keys(self.root) if key.split("/")[0] not in VARIABLES)
        check_chunks(self.root, fixed)
        for piece in all_pieces(contents):
            if not self.is_whole(piece):
                continue
            try:
                check_chunks(self.root, piece.keys)
            except InfluenceError as error:
                raise InfluenceError(
                    f"{error}; to compute only this piece anew, delete {self._ledger / piece.name}"
                ) from error
