"""Taking the influence of one checkpoint apart: three passes over the training examples, kept piece by piece."""

import json
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sprachbund.attribution import AttributionConfig, Texts, portions_that_fit
from sprachbund.data.corpus import Corpus
from sprachbund.decomposition.parameter_groups import parameter_partition
from sprachbund.decomposition.pieces import Array, Layout, PassLayout, Pieces, read_layout, save
from sprachbund.gradients.by_group import GroupedBank, fill_grouped_bank, score_batch_by_group
from sprachbund.gradients.centred import NO_GROUP
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.memory import bank_dtype_named
from sprachbund.gradients.scoring import fill_means, score_batch
from sprachbund.modeling import load_checkpoint
from sprachbund.runs import Checkpoint
from sprachbund.tokens import shared_ids, tokens_by_language
from sprachbund.watch import Watch
from sprachbund.writing import write_text

PASSES = 3
"""How often each training example is passed over; a step of the watch each time."""


@dataclass(frozen=True)
class Examples:
    """Training and test examples of one checkpoint, and what of the training languages a decomposition needs."""

    texts: Texts
    train_language_N: Tensor
    """The number of each training example's language, in order of appearance."""
    shared: npt.NDArray[np.int64]
    """The sub-words that occur in the texts of two training languages or more."""

    @classmethod
    def encode(
        cls,
        train: Corpus,
        test: Corpus,
        checkpoint: Checkpoint,
        max_length: int,
        config: AttributionConfig,
    ) -> "Examples":
        texts = Texts.encode(train, test, checkpoint, max_length, config)
        return cls(
            texts=texts,
            train_language_N=language_numbers(train, train),
            shared=shared_ids(tokens_by_language(texts.tokenizer, (train,))),
        )


def language_numbers(corpus: Corpus, train: Corpus) -> Tensor:
    """The number of each example's language among those of the training examples; `NO_GROUP` for others."""
    numbers = {language: number for number, language in enumerate(train.languages)}
    return torch.tensor([numbers.get(tag, NO_GROUP) for tag in corpus.frame["language"]])


def is_whole(pieces: Pieces, step: int, n_train: int) -> bool:
    """Whether nothing is missing of a checkpoint."""
    layout = read_layout(pieces.layout(step))
    return layout is not None and not any(
        pieces.pending(step, number, n_train) for number in range(len(layout.passes))
    )


def take_apart(
    pieces: Pieces,
    checkpoint: Checkpoint,
    examples: Examples,
    config: AttributionConfig,
    watch: Watch,
) -> None:
    """Compute what is missing of a checkpoint: products with the mean gradients, then with test gradients by group.

    Raises: GradientError if a score would be wrong; ConfigurationError if the gradients of one test example for
        one parameter do not fit the memory; StudyError if the disk refuses.
    """
    texts = examples.texts
    model = load_checkpoint(checkpoint.path, texts.train.labels, texts.max_length)
    step, n_train = checkpoint.step, len(texts.train)
    with GradientEngine(model) as engine:
        watch.say(engine.selection.coverage())
        partition = parameter_partition(model, engine.selection, examples.shared)
        before = watch.done + 2 * n_train
        if not pieces.means(step).exists():
            save(pieces.means(step), _mean_products(engine, examples, watch))
        portions = portions_that_fit(engine, texts, config)
        packed = [texts.packed(portion) for portion in portions]
        for number, portion in enumerate(portions):
            pending = pieces.pending(step, number, n_train)
            if not pending:
                continue
            with engine.narrowed(portion.parameters) as narrowed:
                dtype = bank_dtype_named(config.bank_dtype)
                tests = (batch for _, batch in packed[number])
                bank = fill_grouped_bank(narrowed, tests, partition, dtype)
                save(pieces.tests(step, number), bank.squared_norm_GM.numpy())
                for shard in pending:
                    save(pieces.scores(step, number, shard), _shard(narrowed, bank, texts, shard))
                    watch.reach(before + (number * n_train + shard.stop) // len(portions))
                del bank  # its memory is the next pass's
    passes = [
        PassLayout([i for positions, _ in batches for i in positions], portion.is_of_first_block)
        for portion, batches in zip(portions, packed, strict=True)
    ]
    write_text(pieces.layout(step), json.dumps(asdict(Layout(partition.groups, passes))))


def _mean_products(engine: GradientEngine, examples: Examples, watch: Watch) -> Array:
    """Inner products of every training gradient with each language's mean gradient, [N, L]; two passes."""
    texts = examples.texts
    packed = list(texts.batcher(texts.train_rows))[::-1]  # the longest texts first
    language_N = examples.train_language_N
    weight_N = 1.0 / torch.bincount(language_N).double()[language_N]
    order = torch.tensor([i for positions, _ in packed for i in positions])
    batches = (batch for _, batch in packed)
    means = fill_means(engine, batches, language_N[order], weight_N[order])
    watch.add(len(language_N))
    products_NL = torch.zeros(len(language_N), means.size, dtype=torch.float64)
    for positions, batch in packed:
        products_NL[positions] = score_batch(engine, means, batch).dot_MB.T
        watch.add(len(positions))
    return products_NL.numpy()


def _shard(engine: GradientEngine, bank: GroupedBank, texts: Texts, shard: slice) -> Array:
    """[G, m + 1, n]: products of the bank with some training examples, and in the last row their squared norms."""
    groups, size = bank.squared_norm_GM.shape
    rows = texts.train_rows[shard]
    values_GMN = np.zeros((groups, size + 1, len(rows)))
    for positions, batch in texts.batcher(rows):
        scores = score_batch_by_group(engine, bank, batch)
        values_GMN[:, :-1, positions] = scores.dot_GMB.numpy()
        values_GMN[:, -1, positions] = scores.squared_norm_GB.numpy()
    return values_GMN
