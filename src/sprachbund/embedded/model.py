"""The embedded model: from the packed assets to an ordinary Hugging Face folder."""

import hashlib
import json
import shutil
import tempfile
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from safetensors.numpy import load, save

from sprachbund.embedded.packing import unpack
from sprachbund.errors import ModelError

PACKED_WEIGHTS = "model.packed.safetensors"
COPIED = ("config.json", "tokenizer.json", "tokenizer_config.json", "LICENSE")
WEIGHTS = "model.safetensors"
STAMP = "embedded_model.json"
FORMAT_VERSION = 1


def unpack_model(folder: Path) -> Path:
    """Write the embedded model into `folder`, for `AutoModel...` and `AutoTokenizer.from_pretrained`; return it.

    The folder appears whole or not at all, and always with the same bytes: float32 weights, tokenizer, configuration,
    licence. One that an equal version wrote before is used again; one of another version is replaced.

    Raises: ModelError if `folder` holds something else, or cannot be written.
    """
    folder = Path(folder)
    if _is_current(folder):
        return folder
    try:
        if folder.exists() and not (folder / STAMP).is_file() and any(folder.iterdir()):
            raise ModelError(
                f"{folder}: is in use and holds no unpacked embedded model; name another folder"
            )
        _write(folder)
    except OSError as error:
        raise ModelError(
            f"{folder}: the embedded model cannot be written here: {error.strerror or error}"
        ) from error
    return folder


def _write(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name in COPIED:
            (partial / name).write_bytes((_assets() / name).read_bytes())
        weights = unpack(load((_assets() / PACKED_WEIGHTS).read_bytes()))
        (partial / WEIGHTS).write_bytes(save(weights, metadata={"format": "pt"}))
        sizes = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
        (partial / STAMP).write_text(json.dumps(_stamp(sizes), indent=1) + "\n", encoding="utf-8")
        partial.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_current(folder: Path) -> bool:
    """Whether `folder` was written from these very assets and its files still have their sizes."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        sizes = {name: (folder / name).stat().st_size for name in (*COPIED, WEIGHTS)}
    except (OSError, ValueError):
        return False
    return bool(stamp == _stamp(sizes))


def _stamp(sizes: dict[str, int]) -> dict[str, object]:
    return {"format": FORMAT_VERSION, "assets": _digest(), "sizes": sizes}


@cache
def _digest() -> str:
    digest = hashlib.sha256()
    for name in (*COPIED, PACKED_WEIGHTS):
        digest.update((_assets() / name).read_bytes())
    return digest.hexdigest()


def _assets() -> Traversable:
    return files(__package__) / "assets"
