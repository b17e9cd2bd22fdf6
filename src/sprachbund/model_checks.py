"""What can be wrong with a model before it is used, each told in one line; and quiet loading."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from sprachbund.data.files import near_names
from sprachbund.errors import ModelError, SprachbundWarning
from sprachbund.runs.checkpoint_files import weight_problem

_CLASSIFIER = "ForSequenceClassification"


def local_folder(path: str | Path) -> Path | None:
    """The folder that a path means, or None for a hub name. Raises ModelError if neither."""
    local = Path(path).expanduser()
    if local.is_dir():
        if not (local / "config.json").is_file():
            raise ModelError(
                f"{path}: not a model folder: it has no config.json; give a folder written by "
                "model.save_pretrained(), or a hub name such as xlm-roberta-base"
            )
        return local
    if local.exists():
        raise ModelError(f"{path}: a file, but a model is a folder (or a name on the hub)")
    text = str(path)
    if isinstance(path, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise ModelError(f"{path}: no such model folder; {near_names(local)}")
    return None


def check_labels(path: str, config: PretrainedConfig, labels: Sequence[str]) -> None:
    """Only a checkpoint that has been a classifier before has labels of its own."""
    if not any(_CLASSIFIER in name for name in config.architectures or ()):
        return
    own = [config.id2label[index] for index in sorted(config.id2label)]
    if len(own) != len(labels):
        raise ModelError(
            f"{path}: a classifier of {len(own)} labels ({', '.join(map(str, own))}), but the data "
            f"has {len(labels)} ({', '.join(labels)}); start from the model without its head, "
            "or use the data it was fine-tuned on"
        )
    if own != list(labels) and not _are_unnamed(own):
        raise ModelError(
            f"{path}: its classes are, in order, {', '.join(map(str, own))}, but those of the data "
            f"are {', '.join(labels)}; name and order the data's labels as the model has them"
        )


def doubt_about_labels(config: PretrainedConfig, labels: Sequence[str]) -> str:
    """Where a fine-tuned classifier's classes have no names nothing tells their order; empty where they have."""
    own = [config.id2label[index] for index in sorted(config.id2label)]
    if own == list(labels) or not _are_unnamed(own):
        return ""
    return (
        f"the model's classes have no names (LABEL_0, ...): they are taken for, in order, {', '.join(labels)}. If "
        "that is not the order of its training, every score is wrong: give the data's labels in that order (`labels=` "
        "of Corpus.from_rows, `data.labels` of a study), or set id2label in its config.json"
    )


def _are_unnamed(labels: Sequence[str]) -> bool:
    return all(str(name).upper() == f"LABEL_{index}" for index, name in enumerate(labels))


def check_size(
    path: str, config: PretrainedConfig, num_hidden_layers: int | None, max_length: int
) -> None:
    """The model has the layers that are asked for, and positions for the longest input."""
    own: int | None = getattr(config, "num_hidden_layers", None)
    if own is None and num_hidden_layers is not None:
        raise ModelError(f"{path}: this kind of model has no num_hidden_layers to choose")
    if own is not None and num_hidden_layers is not None and num_hidden_layers > own:
        raise ModelError(
            f"{path}: num_hidden_layers is {num_hidden_layers}, but the model has only {own}"
        )
    positions = getattr(config, "max_position_embeddings", None) or 0
    if positions and "roberta" in config.model_type:
        positions -= (config.pad_token_id or 0) + 1  # RoBERTa counts from past the padding id
    if 0 < positions < max_length:
        raise ModelError(
            f"{path}: max_length is {max_length}, but the model reads at most {positions} tokens"
        )


def check_weights(folder: Path) -> None:
    """Name a damaged weight file, which transformers' own errors do not."""
    problem = weight_problem(folder)
    if problem is not None:
        raise ModelError(f"{problem}; save or download the model again")


def check_backbone(path: str, model: PreTrainedModel, loading: dict[str, Any]) -> None:
    """Parameters of the encoder that had to be made up mean that the model is not what it seems.

    The head is new, and a pooler may be: it stands between the encoder and the head, is trained
    with it, and many encoders (multilingual-e5 among them) come without one.
    """
    prefix = f"{model.base_model_prefix}."
    absent = (name for name in loading["missing_keys"] if name.startswith(prefix))
    missing = sorted(name for name in absent if not name.startswith(f"{prefix}pooler."))
    names = [name for name, _ in model.named_parameters() if name.startswith(prefix)]
    backbone = [name for name in names if not name.startswith(f"{prefix}pooler.")]
    if len(missing) >= len(backbone) > 0:
        raise ModelError(
            f"{path}: the weights hold none of the parameters of {type(model).__name__}"
        )
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        warn(f"{path}: not among the weights, so drawn at random: {', '.join(missing[:5])}{more}")


@contextlib.contextmanager
def explained(path: str | Path, what: str) -> Iterator[None]:
    """Turn what transformers raises while loading into one line."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        where = Path(path).expanduser()
        if where.is_dir():
            raise ModelError(f"{path}: the {what} cannot be loaded: {reason}") from error
        raise ModelError(
            f"{path}: no such folder, and the {what} cannot be had from the Hugging Face hub "
            f"(misspelt, or no network): {reason}"
        ) from error
    except Exception as error:
        # safetensors and tokenizers raise classes of their own that share no base but Exception.
        raise ModelError(f"{path}: the {what} cannot be loaded: {error}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing load reports and progress bars."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def warn(message: str) -> None:
    """Warn where the caller's caller called."""
    warnings.warn(message, SprachbundWarning, stacklevel=3)
