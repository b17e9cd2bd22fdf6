"""Load a tokenizer and a sequence classifier, and turn a corpus into tokens for them.

Fine-tuning, evaluation and attribution all load through here, so that they see the same model, the
same truncation and the same order of labels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from sprachbund.data.corpus import Corpus
from sprachbund.errors import ModelError
from sprachbund.model_checks import (
    check_backbone,
    check_labels,
    check_size,
    check_weights,
    doubt_about_labels,
    explained,
    local_folder,
    quiet,
    warn,
)

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "vocab.txt",
    "vocab.json",
)


class ModelConfig(BaseModel):
    """The pre-trained model to start from; in YAML a plain string stands for its path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        default="",
        description="Name on the Hugging Face hub, or a local folder; left out with `runs`.",
    )
    num_hidden_layers: int | None = Field(
        default=None, ge=1, description="Keep only this many of the lowest layers; all by default."
    )
    max_length: int = Field(
        default=128,
        ge=4,
        description="Longest input in tokens; longer texts are truncated. With `runs`, as they were trained.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        if isinstance(value, str | Path):
            return {"path": str(value)}
        if not isinstance(value, Mapping | ModelConfig):
            raise ValueError("expected the name of a model on the Hugging Face hub, or a folder")
        return value

    @property
    def use(self) -> dict[str, Any]:
        """How the model is used, wherever it lies: its content has a fingerprint (`model_fingerprint`)."""
        return self.model_dump(mode="json", exclude={"path"})


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer; one without a padding token pads with its end token.

    Raises: ModelError if the folder is missing or holds no tokenizer, or the hub cannot be reached.
    """
    folder = local_folder(path)
    if folder is not None and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(
            f"{folder}: no tokenizer found (expected tokenizer.json or a vocabulary file); "
            "save the tokenizer of the model into this folder with tokenizer.save_pretrained()"
        )
    with quiet(), explained(path, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(str(folder or path))
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ModelError(
                f"{path}: the tokenizer has neither a padding nor an end token; set "
                "tokenizer.pad_token and save it again"
            )
        tokenizer.pad_token = tokenizer.eos_token
        warn(f"{path}: the tokenizer has no padding token; its end token pads instead")
    return tokenizer


def load_classifier(config: ModelConfig, labels: Sequence[str], seed: int) -> PreTrainedModel:
    """Load a classifier over `labels` in float32 and eval mode; a new head is drawn from `seed`.

    The global random state is left as it was found.

    Raises: ModelError if the folder, its weights or its number of labels or layers do not fit.
    """
    folder = local_folder(config.path)
    source = str(folder or config.path)
    with quiet(), explained(config.path, "model"):
        architecture = AutoConfig.from_pretrained(source)
    check_labels(config.path, architecture, labels)
    check_size(config.path, architecture, config.num_hidden_layers, config.max_length)
    if folder is not None:
        check_weights(folder)
    if architecture.pad_token_id is None:
        architecture.pad_token_id = architecture.eos_token_id
    if config.num_hidden_layers is not None:
        architecture.num_hidden_layers = config.num_hidden_layers
    architecture.id2label = dict(enumerate(labels))
    architecture.label2id = {label: index for index, label in enumerate(labels)}
    with quiet(), explained(config.path, "model"), torch.random.fork_rng():
        torch.manual_seed(seed)
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            source, config=architecture, dtype=torch.float32, output_loading_info=True
        )
    check_backbone(config.path, model, loading)
    return model.eval()


def doubt_about_classes(path: Path, labels: Sequence[str]) -> str:
    """As `doubt_about_labels`, of the model in a folder. Raises: ModelError if it has no configuration."""
    with quiet(), explained(path, "model"):
        return doubt_about_labels(AutoConfig.from_pretrained(str(path)), labels)


def load_checkpoint(path: Path, labels: Sequence[str], max_length: int) -> PreTrainedModel:
    """Load a fine-tuned classifier as `load_classifier` does, onto the GPU if there is one."""
    model = load_classifier(ModelConfig(path=str(path), max_length=max_length), labels, seed=0)
    doubt = doubt_about_classes(path, labels)
    if doubt:
        warn(doubt)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def encode(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[dict[str, Any]]:
    """Token ids of each row (and its pair, where it has one), in corpus order, unpadded.

    Returns: per row `input_ids`, `attention_mask`, `token_type_ids` if the tokenizer gives them,
    and `labels` (the class index). Warns with the number of rows that had to be truncated.
    """
    frame = corpus.frame
    rows: list[dict[str, Any]] = [{} for _ in range(len(frame))]
    paired = (frame["text_pair"] != "").to_numpy()
    for with_pair in (False, True):
        positions = (paired == with_pair).nonzero()[0].tolist()
        if positions:
            texts = frame["text"].iloc[positions].tolist()
            pairs = frame["text_pair"].iloc[positions].tolist() if with_pair else None
            for position, row in zip(positions, _tokenize(tokenizer, texts, pairs), strict=True):
                rows[position] = row
    too_long = [i for i, row in enumerate(rows) if len(row["input_ids"]) > max_length]
    for i in too_long:
        text, pair = frame["text"].iloc[i], frame["text_pair"].iloc[i]
        pairs = [pair] if pair else None
        rows[i] = _tokenize(tokenizer, [text], pairs, truncation=True, max_length=max_length)[0]
    if too_long:
        warn(
            f"{corpus.name}: {len(too_long)} of {len(rows)} examples are longer than {max_length} "
            "tokens and were truncated; raise max_length to keep them whole"
        )
    for row, label in zip(rows, corpus.label_index.tolist(), strict=True):
        row["labels"] = int(label)
    return rows


class Encoder:
    """`encode` that tokenises each text once, for runs that share texts, as those of a sweep do."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self.tokenizer = tokenizer
        self._max_length = max_length
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}

    def __call__(self, corpus: Corpus) -> list[dict[str, Any]]:
        """What `encode` returns; it warns of truncated rows the first time they come."""
        texts = list(zip(corpus.frame["text"], corpus.frame["text_pair"], strict=True))
        new = [position for position, text in enumerate(texts) if text not in self._rows]
        if new:
            rows = encode(corpus.take(new), self.tokenizer, self._max_length)
            self._rows |= zip((texts[position] for position in new), rows, strict=True)
        labels = corpus.label_index.tolist()
        return [
            {**self._rows[text], "labels": int(label)}
            for text, label in zip(texts, labels, strict=True)
        ]


def collate(
    rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase
) -> dict[str, torch.Tensor]:
    """Pad encoded rows to their longest: tensors [batch, tokens], and `labels` [batch]."""
    with quiet():
        padded = tokenizer.pad([{k: v for k, v in row.items() if k != "labels"} for row in rows])
    batch = {name: torch.tensor(values) for name, values in padded.items()}
    batch["labels"] = torch.tensor([row["labels"] for row in rows])
    return batch


def _tokenize(
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    pairs: list[str] | None,
    **options: Any,
) -> list[dict[str, Any]]:
    encoded = tokenizer(texts, pairs, verbose=False, return_attention_mask=True, **options)
    return [{name: encoded[name][i] for name in encoded} for i in range(len(texts))]
