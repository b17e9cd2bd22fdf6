import json
import os
import pickle
import zipfile
from enum import Enum
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from transformers import TrainingArguments

from sprachbund.errors import RunError
from sprachbund.runs.checkpoint_files import read_arguments, read_scheduler, weight_problem


class Malicious:
    """Runs a command when it is unpickled in the ordinary way."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


class OwnArguments(TrainingArguments):
    """Arguments of a class that is not of transformers."""


def test_arguments_are_read_as_the_trainer_wrote_them(tmp_path):
    written = TrainingArguments(
        output_dir=str(tmp_path),
        learning_rate=3e-5,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr": 1e-6},
        warmup_steps=0.1,
    )
    torch.save(written, tmp_path / "training_args.bin")
    read = read_arguments(tmp_path)
    assert read["learning_rate"] == 3e-5
    assert read["lr_scheduler_type"] == "cosine_with_min_lr"
    assert read["lr_scheduler_kwargs"] == {"min_lr": 1e-6}
    assert read["warmup_steps"] == 0.1


class ByName(pickle.Pickler):
    """Pickles members of enumerations as Python 3.11.2 does: by name, not by value."""

    def reducer_override(self, value):
        if isinstance(value, Enum):
            return getattr, (type(value), value.name)
        return NotImplemented


@pytest.mark.parametrize("kind", ["linear", "cosine_with_min_lr", "reduce_lr_on_plateau"])
def test_arguments_are_read_whatever_python_wrote_them(tmp_path, kind):
    kwargs = {"min_lr": 1e-6} if kind == "cosine_with_min_lr" else {}
    written = TrainingArguments(
        output_dir=str(tmp_path),
        lr_scheduler_type=kind,
        lr_scheduler_kwargs=kwargs,
        eval_strategy="epoch",
    )
    by_name = SimpleNamespace(Pickler=ByName, __name__="pickle")
    torch.save(written, tmp_path / "training_args.bin", pickle_module=by_name)
    read = read_arguments(tmp_path)
    assert (read["lr_scheduler_type"], read["eval_strategy"]) == (kind, "epoch")


def test_arguments_of_a_class_of_ones_own_are_read(tmp_path):
    torch.save(OwnArguments(output_dir=str(tmp_path)), tmp_path / "training_args.bin")
    assert read_arguments(tmp_path)["learning_rate"] == 5e-5


def test_reading_arguments_runs_no_code(tmp_path):
    torch.save(Malicious(tmp_path / "hacked"), tmp_path / "training_args.bin")
    read_arguments(tmp_path)
    assert not (tmp_path / "hacked").exists()
    with zipfile.ZipFile(tmp_path / "training_args.bin", "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps([Malicious(tmp_path / "hacked")]))
    with pytest.raises(RunError, match="does not hold training arguments"):
        read_arguments(tmp_path)
    assert not (tmp_path / "hacked").exists()


def test_reading_a_scheduler_runs_no_code(tmp_path):
    torch.save({"last_epoch": Malicious(tmp_path / "hacked")}, tmp_path / "scheduler.pt")
    with pytest.raises(RunError, match=r"scheduler.pt: damaged, or holds more than plain values"):
        read_scheduler(tmp_path)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02cos\nsystem\n."])
def test_arguments_that_are_no_torch_archive_are_refused(tmp_path, content):
    (tmp_path / "training_args.bin").write_bytes(content)
    with pytest.raises(RunError, match=r"training_args.bin: damaged"):
        read_arguments(tmp_path)


def test_weights_are_checked_in_every_form(tmp_path):
    assert "has no weights" in weight_problem(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "holds an adapter only" in weight_problem(tmp_path)
    torch.save({"w": torch.zeros(3)}, tmp_path / "pytorch_model.bin")
    assert weight_problem(tmp_path) is None
    save_file({"w": torch.zeros(3)}, tmp_path / "model.safetensors")
    assert weight_problem(tmp_path) is None
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "model.safetensors", "v": "two.safetensors"}}))
    assert "two.safetensors: missing" in weight_problem(tmp_path)
    save_file({"v": torch.zeros(3)}, tmp_path / "two.safetensors")
    assert weight_problem(tmp_path) is None


def test_every_truncation_of_safetensors_is_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"w": torch.arange(3.0), "v": torch.zeros(2, 2)}, path)
    whole = path.read_bytes()
    assert weight_problem(tmp_path) is None
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert weight_problem(tmp_path) is not None, f"{length} of {len(whole)} bytes pass as whole"
