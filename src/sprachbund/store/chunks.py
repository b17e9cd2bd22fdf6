"""Zarr arrays whose every chunk carries a crc32c checksum, and a store that returns no bad one.

Zarr reads a missing chunk as the fill value; here that is an error, as is a damaged one.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.abc.store import ByteRequest
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from sprachbund.errors import InfluenceError

METADATA_DIGEST = "metadata_sha256"


class CheckedStore(WrapperStore[LocalStore]):
    """A local Zarr store that raises an InfluenceError for a chunk that is missing or damaged."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return the bytes under `key`; a chunk is returned whole and proven, or not at all."""
        try:
            buffer = await super().get(key, prototype, byte_range)
        except OSError as error:
            raise InfluenceError(f"{self._store.root / key}: cannot be read: {error}") from error
        if _is_chunk(key) and byte_range is None:
            check_chunk(self._store.root, key, None if buffer is None else buffer.to_bytes())
        return buffer


def open_checked(root: Path) -> CheckedStore:
    """Open a Zarr folder for reading, every chunk checked."""
    return CheckedStore(LocalStore(root, read_only=True))


def create_array(
    group: zarr.Group,
    name: str,
    *,
    dtype: str,
    shape: Sequence[int],
    chunks: Sequence[int],
    dims: Sequence[str],
    long_name: str,
) -> Any:
    """Create an empty array; numbers are stored plain (they hardly compress), strings with zstd.

    Missing numbers are NaN, so that a hole can never pass for a score.
    """
    codecs: list[Any] = [Crc32cCodec()]
    if dtype == "string":
        codecs.insert(0, ZstdCodec(level=3))
    return group.create_array(
        name,
        shape=tuple(shape),
        dtype=dtype,
        chunks=tuple(chunks),
        compressors=codecs,
        fill_value=np.nan if dtype.startswith("float") else None,
        dimension_names=tuple(dims),
        attributes={"long_name": long_name},
        # A chunk of nothing but the fill value must exist too: absence means damage.
        config={"write_empty_chunks": True},
    )


def chunk_keys(root: Path) -> Iterator[str]:
    """Yield the path, relative to `root`, of every chunk that the arrays of the store must have."""
    for metadata in sorted(root.glob("*/zarr.json")):
        array = _read_json(metadata)
        sizes = array["chunk_grid"]["configuration"]["chunk_shape"]
        grid = [range(-(-n // size)) for n, size in zip(array["shape"], sizes, strict=True)]
        for index in itertools.product(*grid):
            yield "/".join([metadata.parent.name, "c", *map(str, index)])


def check_present(root: Path) -> None:
    """Raise an InfluenceError that names the first chunk file that should be there and is not."""
    for key in chunk_keys(root):
        if not (root / key).is_file():
            check_chunk(root, key, None)


def check_chunks(root: Path, keys: Iterable[str]) -> None:
    """Read these chunks and raise an InfluenceError that names the first one missing or damaged."""
    for key in keys:
        try:
            content = (root / key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            content = None
        except OSError as error:
            raise InfluenceError(f"{root / key}: cannot be read: {error}") from error
        check_chunk(root, key, content)


def check_chunk(root: Path, key: str, content: bytes | None) -> None:
    """Raise an InfluenceError unless `content` ends in the checksum of what precedes it."""
    where = f'{root}: array "{key.split("/")[0]}", chunk file {key}'
    if content is None:
        raise InfluenceError(f"{where} is missing; {_REMEDY}")
    expected = google_crc32c.value(content[:-4]).to_bytes(4, "little")
    if len(content) < 4 or content[-4:] != expected:
        raise InfluenceError(
            f"{where} is damaged ({len(content)} bytes that do not pass their checksum); {_REMEDY}"
        )


def seal_metadata(root: Path) -> None:
    """Record a digest of all zarr.json files in the attributes of the group.

    Chunks have checksums; shapes, codecs and attributes have only this.
    """
    content = _read_json(root / "zarr.json")
    content["attributes"][METADATA_DIGEST] = metadata_digest(root)
    temporary = root / "zarr.json.new"
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    sync([temporary])
    temporary.replace(root / "zarr.json")
    sync([root])


def metadata_digest(root: Path) -> str:
    """Return the SHA-256 of the meaning (not the layout) of the store's zarr.json files."""
    digest = hashlib.sha256()
    for path in [root / "zarr.json", *sorted(root.glob("*/zarr.json"))]:
        content = _read_json(path)
        if path.parent == root:
            content.get("attributes", {}).pop(METADATA_DIGEST, None)
        canonical = json.dumps([path.parent.name * (path.parent != root), content], sort_keys=True)
        digest.update(canonical.encode())
    return digest.hexdigest()


def read_attributes(root: Path) -> dict[str, Any]:
    """Return the attributes of the group at `root`; InfluenceError if there is none."""
    attributes = _read_json(root / "zarr.json").get("attributes")
    return attributes if isinstance(attributes, dict) else {}


def sync(paths: Iterable[Path]) -> None:
    """Ask the system to bring these files or folders to the disk now."""
    for path in paths:
        if path.is_dir() and os.name == "nt":  # Windows cannot open a folder
            continue
        descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_REMEDY = "restore it from a copy, or delete the result and attribute again"


def _is_chunk(key: str) -> bool:
    return "/c/" in key


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InfluenceError(f"{path}: cannot be read: {error}; {_REMEDY}") from error
    if not isinstance(content, dict):
        raise InfluenceError(f"{path}: is not the metadata of a Zarr store; {_REMEDY}")
    return content
