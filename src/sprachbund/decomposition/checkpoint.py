"""Taking the influence of one checkpoint apart: three passes over the training examples, kept piece by piece."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sprachbund.attribution import AttributionConfig
from sprachbund.batching import Batcher, EncodedRow
from sprachbund.data.corpus import Corpus
from sprachbund.decomposition.parameter_groups import parameter_partition
from sprachbund.decomposition.pieces import Array, Layout, Pieces, read_layout, save
from sprachbund.gradients.by_group import GroupedBank, fill_grouped_bank, score_batch_by_group
from sprachbund.gradients.centred import NO_GROUP
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.memory import bank_dtype_named, examples_at_once
from sprachbund.gradients.scoring import fill_means, score_batch
from sprachbund.modeling import ModelConfig, encode, load_classifier, load_tokenizer
from sprachbund.runs import Checkpoint
from sprachbund.tokens import shared_ids, tokens_by_language
from sprachbund.writing import write_text

PASSES = 3

Report = Callable[[int], None]
"""Called with the training examples passed over so far, at most `PASSES` times their number."""


@dataclass(frozen=True)
class Examples:
    """Training and test examples, encoded for one checkpoint."""

    train_rows: list[EncodedRow]
    test_rows: list[EncodedRow]
    train_language_N: Tensor
    """The number of each training example's language, in order of appearance."""
    shared: npt.NDArray[np.int64]
    """The sub-words that occur in the texts of two training languages or more."""
    labels: tuple[str, ...]
    batcher: Batcher
    max_length: int

    @classmethod
    def encode(
        cls,
        train: Corpus,
        test: Corpus,
        checkpoint: Checkpoint,
        max_length: int,
        config: AttributionConfig,
    ) -> "Examples":
        tokenizer = load_tokenizer(checkpoint.path)
        return cls(
            train_rows=encode(train, tokenizer, max_length),
            test_rows=encode(test, tokenizer, max_length),
            train_language_N=language_numbers(train, train),
            shared=shared_ids(tokens_by_language(tokenizer, (train,))),
            labels=train.labels,
            batcher=Batcher(tokenizer, config.tokens_per_batch, config.batch_size),
            max_length=max_length,
        )


def language_numbers(corpus: Corpus, train: Corpus) -> Tensor:
    """The number of each example's language among those of the training examples; `NO_GROUP` for others."""
    numbers = {language: number for number, language in enumerate(train.languages)}
    return torch.tensor([numbers.get(tag, NO_GROUP) for tag in corpus.frame["language"]])


def is_whole(pieces: Pieces, step: int, n_train: int) -> bool:
    """Whether nothing is missing of a checkpoint."""
    layout = read_layout(pieces.layout(step))
    return layout is not None and not any(
        pieces.pending(step, block, n_train) for block in range(len(layout.blocks))
    )


def take_apart(
    pieces: Pieces,
    checkpoint: Checkpoint,
    examples: Examples,
    config: AttributionConfig,
    report: Report,
) -> None:
    """Compute what is missing of a checkpoint: products with the mean gradients, then with test gradients by group.

    Raises: GradientError if a score would be wrong; ConfigurationError if the gradients of one test example do not fit
        the memory; StudyError if the disk refuses.
    """
    model_config = ModelConfig(path=str(checkpoint.path), max_length=examples.max_length)
    model = load_classifier(model_config, examples.labels, seed=0)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    step, n_train = checkpoint.step, len(examples.train_rows)
    with GradientEngine(model) as engine:
        partition = parameter_partition(model, engine.selection, examples.shared)
        if not pieces.means(step).exists():
            save(pieces.means(step), _mean_products(engine, examples, report))
        blocks = _blocks(engine, examples, config)
        for number, block in enumerate(blocks):
            pending = pieces.pending(step, number, n_train)
            if not pending:
                continue
            batches = [batch for _, batch in _longest_first(examples, block)]
            dtype = bank_dtype_named(config.bank_dtype)
            bank = fill_grouped_bank(engine, batches, partition, dtype)
            save(pieces.tests(step, number), bank.squared_norm_GM.numpy())
            for shard in pending:
                rows = examples.train_rows[shard]
                save(pieces.scores(step, number, shard), _shard(engine, bank, examples, rows))
                report(2 * n_train + (number * n_train + shard.stop) // len(blocks))
    orders = [
        [block[i] for positions, _ in _longest_first(examples, block) for i in positions]
        for block in blocks
    ]
    write_text(pieces.layout(step), json.dumps(asdict(Layout(partition.groups, orders))))


def _blocks(
    engine: GradientEngine, examples: Examples, config: AttributionConfig
) -> list[list[int]]:
    """Positions of the test examples, shortest first, cut into blocks whose gradients fit at once."""
    lengths = [len(row["input_ids"]) for row in examples.test_rows]
    size = examples_at_once(
        engine.selection, max(lengths), len(lengths), config.memory_nbytes, config.bank_dtype
    )
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _longest_first(
    examples: Examples, block: list[int]
) -> list[tuple[list[int], dict[str, Tensor]]]:
    """The batches of a block of test examples, each with the positions of its rows in the block."""
    return list(examples.batcher([examples.test_rows[i] for i in block]))[::-1]


def _mean_products(engine: GradientEngine, examples: Examples, report: Report) -> Array:
    """Inner products of every training gradient with each language's mean gradient, [N, L]; two passes."""
    packed = list(examples.batcher(examples.train_rows))[::-1]
    language_N = examples.train_language_N
    weight_N = 1.0 / torch.bincount(language_N).double()[language_N]
    order = torch.tensor([i for positions, _ in packed for i in positions])
    batches = (batch for _, batch in packed)
    means = fill_means(engine, batches, language_N[order], weight_N[order])
    done = len(language_N)
    report(done)
    products_NL = torch.zeros(len(language_N), means.size, dtype=torch.float64)
    for positions, batch in packed:
        products_NL[positions] = score_batch(engine, means, batch).dot_MB.T
        done += len(positions)
        report(done)
    return products_NL.numpy()


def _shard(
    engine: GradientEngine, bank: GroupedBank, examples: Examples, rows: list[EncodedRow]
) -> Array:
    """[G, m + 1, n]: products of the bank with some training examples, and in the last row their squared norms."""
    groups, size = bank.squared_norm_GM.shape
    values_GMN = np.zeros((groups, size + 1, len(rows)))
    for positions, batch in examples.batcher(rows):
        scores = score_batch_by_group(engine, bank, batch)
        values_GMN[:, :-1, positions] = scores.dot_GMB.numpy()
        values_GMN[:, -1, positions] = scores.squared_norm_GB.numpy()
    return values_GMN
