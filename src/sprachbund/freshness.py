"""What each stage of a study was made from, so that what has not changed is not done again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sprachbund.runs.checkpoint_files import content_fingerprint
from sprachbund.writing import write_text


def fingerprint(*parts: Any) -> str:
    """A short hash of JSON-like content."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def files_fingerprint(path: Path) -> str:
    """A short hash of the names, sizes and times of the files in a folder; of the name if there is none."""
    if not path.is_dir():
        return fingerprint(str(path))
    files = sorted(file for file in path.iterdir() if file.is_file())
    return fingerprint([(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files])


def model_fingerprint(name: str) -> str:
    """A short hash of the content of a model's folder; of the name where it is one of a hub.

    Their times do not count: a copied or newly mounted model is the same, and nothing made from it is done again.
    """
    folder = Path(name).expanduser()
    return content_fingerprint(folder) if folder.is_dir() else fingerprint(name)


@dataclass(frozen=True)
class StageRecord:
    """The note `<study>/stages/<name>.json`: what a finished stage was made from and what it wrote."""

    folder: Path
    name: str

    @property
    def _path(self) -> Path:
        return self.folder / "stages" / f"{self.name}.json"

    def is_fresh(self, made_from: str) -> bool:
        """Whether the stage was finished from the same inputs and all its outputs still exist."""
        try:
            record: Mapping[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        outputs = record.get("outputs", [])
        return record.get("made_from") == made_from and all(
            (self.folder / output).exists() for output in outputs
        )

    def finish(self, made_from: str, outputs: Sequence[Path]) -> None:
        """Note that the stage is finished."""
        record = {
            "made_from": made_from,
            "outputs": [path.relative_to(self.folder).as_posix() for path in outputs],
        }
        write_text(self._path, json.dumps(record, indent=1) + "\n")
