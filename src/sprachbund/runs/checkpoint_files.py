"""The files of a Trainer checkpoint, read without executing anything and checked for damage.

A killed process or a full disk leaves files that are cut short. What is checked here is what such
an accident breaks: header and length of safetensors, directory of a torch archive, JSON syntax.
"""

import functools
import hashlib
import io
import json
import math
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from transformers import trainer_utils

from sprachbund.errors import RunError

TRAINER_STATE = "trainer_state.json"
TRAINING_ARGUMENTS = "training_args.bin"
_WEIGHTS = ("model", "pytorch_model", "config")
_TOKENS = (
    "tokenizer",
    "sentencepiece",
    "spiece",
    "vocab",
    "merges",
    "bpe",
    "special_tokens",
    "added_tokens",
)
_CONTENT = (*_WEIGHTS, *_TOKENS)
"""How the names of the files begin that a model's predictions depend on."""
SCHEDULER = "scheduler.pt"


@dataclass(frozen=True)
class SavedState:
    """What one checkpoint records of the schedule."""

    path: Path
    step: int
    epoch: float
    max_steps: int
    logged: Mapping[int, float]  # the rate logged at a step, for the steps that were logged
    scheduler: Mapping[str, Any] | None = field(repr=False)

    @classmethod
    def read(cls, path: Path, step: int) -> "SavedState":
        """Read a checkpoint's state. Raises RunError if it is damaged or of another step."""
        state = read_state(path)
        if state["global_step"] != step:
            raise RunError(f"{path}: its trainer_state.json is of step {state['global_step']}")
        logged: dict[int, float] = {}
        for entry in state.get("log_history") or ():
            if "learning_rate" in entry and entry.get("step") is not None:
                rate = float(entry["learning_rate"])
                if not math.isclose(
                    logged.setdefault(int(entry["step"]), rate), rate, rel_tol=1e-12
                ):
                    raise RunError(f"{path}: two learning rates are logged at step {entry['step']}")
        return cls(
            path=path,
            step=step,
            epoch=float(state.get("epoch") or 0.0),
            max_steps=int(state.get("max_steps") or 0),
            logged=logged,
            scheduler=read_scheduler(path),
        )

    @property
    def taken(self) -> int:
        """Optimizer steps really taken: mixed precision skips those whose gradient overflowed."""
        return int((self.scheduler or {})["last_epoch"])

    @property
    def next_rate(self) -> float:
        """The rate that the scheduler had set for the step after the checkpoint."""
        return float((self.scheduler or {})["_last_lr"][0])


def weight_problem(folder: Path) -> str | None:
    """What is wrong with the model weights in a folder, or None; reads headers only."""
    for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        if (folder / index).is_file():
            return _shard_problem(folder / index)
    if (folder / "model.safetensors").is_file():
        return _safetensors_problem(folder / "model.safetensors")
    if (folder / "pytorch_model.bin").is_file():
        return _archive_problem(folder / "pytorch_model.bin")
    if (folder / "adapter_config.json").is_file():
        return f"{folder}: holds an adapter only; merge it into its model and save that"
    return f"{folder}: has no weights (model.safetensors or pytorch_model.bin)"


def checkpoint_problem(folder: Path) -> str | None:
    """What makes a Trainer checkpoint unusable, or None; reads headers only.

    The Trainer writes trainer_state.json last, so a checkpoint without it was cut short.
    """
    for name in ("config.json", TRAINER_STATE):
        path = folder / name
        if not path.is_file():
            return f"{folder}: incomplete, it has no {name}"
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            return f"{path}: damaged, not valid JSON ({error})"
    for path in sorted(
        (*folder.glob("*.pt"), *folder.glob("*.pth"), *folder.glob("training_args.bin"))
    ):
        problem = _archive_problem(path)
        if problem is not None:
            return problem
    return weight_problem(folder)


def read_state(folder: Path) -> dict[str, Any]:
    """The content of trainer_state.json. Raises RunError if it is missing or damaged."""
    path = folder / TRAINER_STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{folder}: incomplete, it has no {TRAINER_STATE}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: damaged, not valid JSON ({error})") from error
    if not isinstance(state, dict) or not isinstance(state.get("global_step"), int):
        raise RunError(f"{path}: not a Trainer's state: it has no global_step")
    return state


def read_scheduler(folder: Path) -> dict[str, Any] | None:
    """The state of the learning-rate scheduler, or None where the checkpoint has none."""
    path = folder / SCHEDULER
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(
            f"{path}: damaged, or holds more than plain values ({_line(error)})"
        ) from error
    if not isinstance(state, dict):
        raise RunError(f"{path}: not the state of a scheduler")
    return state


def read_arguments(folder: Path) -> dict[str, Any] | None:
    """The fields of training_args.bin, or None where there is none.

    The pickle is read with inert stand-ins for every class that it names: nothing in it is imported
    or called, so that a malicious file cannot run code, and arguments of another version of
    transformers, or of a class of the user's own, can be read too.
    """
    path = folder / TRAINING_ARGUMENTS
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
            arguments = _InertUnpickler(io.BytesIO(archive.read(name))).load()
    except Exception as error:
        raise RunError(f"{path}: damaged, or not written by a Trainer ({_line(error)})") from error
    if not isinstance(arguments, _Inert):
        raise RunError(f"{path}: does not hold training arguments")
    return {key: _plain(value) for key, value in vars(arguments).items()}


class _Inert:
    """Stands for an object of any class: keeps what it was made from, and does nothing."""

    _name = ""

    def __new__(cls, *arguments: Any, **_: Any) -> "_Inert":
        instance = super().__new__(cls)
        instance._arguments = arguments
        return instance

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)

    _arguments: tuple[Any, ...]


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module in ("builtins", "__builtin__") and name == "getattr":
            return _member
        return type("_Named", (_Inert,), {"_name": name})

    def persistent_load(self, _pid: Any) -> Any:
        return _Inert()


def _member(holder: Any, name: Any) -> Any:
    """The value of an enumeration's member by its name, as Python 3.11.2 pickles it, for one; for all else, a stand-in.

    Looked up in the enumerations of the Trainer alone: the pickle has no say in what is imported.
    """
    found = getattr(trainer_utils, getattr(holder, "_name", ""), None)
    if isinstance(found, type) and issubclass(found, Enum) and name in found.__members__:
        return found[name].value
    return _Inert()


def _plain(value: Any) -> Any:
    """An enumeration member is pickled as its class and its value: keep the value."""
    if isinstance(value, _Inert) and len(value._arguments) == 1:
        return value._arguments[0]
    return value


def _safetensors_problem(path: Path) -> str | None:
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                return f"{path}: cut short, its header is not whole"
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{path}: damaged, its header cannot be read ({_line(error)})"
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        return f"{path}: damaged, {size} bytes where its header says {expected}"
    return None


def _shard_problem(index: Path) -> str | None:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        return f"{index}: damaged ({_line(error)})"
    for name in names:
        shard = index.parent / name
        if not shard.is_file():
            return f"{shard}: missing, but {index.name} names it"
        check = _safetensors_problem if shard.suffix == ".safetensors" else _archive_problem
        problem = check(shard)
        if problem is not None:
            return problem
    return None


def _archive_problem(path: Path) -> str | None:
    """Files of torch.save are zip archives, whose directory is written last."""
    try:
        with zipfile.ZipFile(path):
            return None
    except (OSError, zipfile.BadZipFile) as error:
        return f"{path}: damaged or cut short ({_line(error)})"


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def content_fingerprint(folder: Path) -> str:
    """A short hash of the weights, tokenizer and configuration in a model's folder."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(folder.iterdir()):
        if file.name.startswith(_CONTENT):
            stat = file.stat()
            digest.update(file.name.encode())
            digest.update(_content_hash(file.resolve(), stat.st_size, stat.st_mtime_ns))
    return digest.hexdigest()


@functools.lru_cache(maxsize=256)
def _content_hash(path: Path, size: int, time_ns: int) -> bytes:  # noqa: ARG001  (a changed file is read again)
    """Read once in a process: every run of many mixes asks for its model's."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
