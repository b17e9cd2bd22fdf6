"""Scores of every training example for every test example, or for means of them: the engine as a function."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sprachbund.errors import GradientError, SprachbundWarning
from sprachbund.gradients.batches import (
    Batch,
    RepeatedBatches,
    batch_size,
    check_batch,
    examples_within,
)
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.losses import Loss
from sprachbund.gradients.memory import (
    BankDtype,
    bank_dtype_named,
    bank_nbytes,
    free_nbytes,
    parse_nbytes,
    readable,
)
from sprachbund.gradients.parameters import ParameterFilter
from sprachbund.gradients.passes import Portion, Sums, Work, portions_within
from sprachbund.gradients.scoring import fill_bank, fill_means, score_batch, squared_norms
from sprachbund.gradients.similarity import cosine, warn_of_vanishing

Similarity = Literal["dot", "cosine"]


def pairwise_influence(
    model: nn.Module,
    train: Iterable[Batch],
    test: Iterable[Batch],
    similarity: Similarity = "dot",
    loss: Loss | None = None,
    parameters: ParameterFilter | None = None,
    *,
    memory: str | None = None,
    bank_dtype: BankDtype = "float32",
) -> Tensor:
    """Gradient similarity of every test example with every training example at one checkpoint.

    The inner product of the two examples' loss gradients, one summand of TracInCP (Pruthi et al. 2020, section 3.2)
    without its learning rate, or their cosine (Choenni et al. 2023, section 3). Over all trainable parameters, exactly.

    Args:
        model: any transformer (or other module) whose loss of an example does not depend on its batch.
        train, test: re-iterables of collated batches, dicts of tensors with `labels`. Of several passes (`memory`) one
            more only counts the training examples.
        similarity: "dot" or "cosine".
        loss: (model, batch) -> losses [B]; by default the model's own task loss of each example.
        parameters: keeps the parameters whose name it is true for; by default all trainable ones.
        memory: for the test gradients, such as "16GiB"; by default three quarters of what is free. Where they do not
            fit at once, the training set is passed over several times, with a warning that says how often.
        bank_dtype: "bfloat16" halves that memory and rounds the test gradients to three digits.

    Returns: [n_test, n_train] in the order of the batches, in the model's floating type. The model is left as it
        was found: mode, requires_grad, gradients, hooks.
    Raises: GradientError if no parameter is left, a loss is not finite or depends on the batch; ConfigurationError if
        the gradients of one test example for one parameter do not fit the memory.
    """
    _check_similarity(similarity)
    tests = list(test)
    with GradientEngine(model, loss=loss, parameters=parameters) as engine:
        nbytes = free_nbytes(engine.device) if memory is None else parse_nbytes(memory)
        batches = RepeatedBatches(train)
        portions = portions_of(engine, batches, tests, nbytes, bank_dtype)
        test_squares_M = torch.zeros(sum(map(batch_size, tests)), dtype=torch.float64)
        sums: list[Sums] = []  # of each training batch
        for portion in portions:
            with engine.narrowed(portion.parameters) as narrowed:
                block = examples_within(tests, portion.tests)
                filled = fill_bank(narrowed, block, bank_dtype_named(bank_dtype))
                test_squares_M[portion.tests] += filled.norm_M.square()
                for number, batch in enumerate(batches):
                    if portion is portions[0]:
                        sums.append(Sums.zeros(len(test_squares_M), batch_size(batch)))
                    scores = score_batch(narrowed, filled.bank, batch)
                    sums[number].add(portion, scores, portion.tests)
                del filled  # its memory is the next pass's
        dtype = engine.dtype
    norm_M = test_squares_M.sqrt()
    influence = [
        total.dot_MN
        if similarity == "dot"
        else cosine(total.dot_MN, norm_M, total.squares_N.sqrt())
        for total in sums
    ]
    return torch.cat([part_MB.to(dtype) for part_MB in influence], dim=1)


def mean_influence(
    model: nn.Module,
    train: Iterable[Batch],
    test: Iterable[Batch],
    groups: Sequence[int],
    similarity: Similarity = "dot",
    loss: Loss | None = None,
    parameters: ParameterFilter | None = None,
) -> Tensor:
    """Mean influence of every training example on each group of test examples, a language's for instance.

    Equal to `pairwise_influence` averaged over the test examples of a group, at the cost of one test example for each
    group, whatever the number of test examples: the mean of the (for cosine: normalised) test gradients is itself one
    row of the bank. Two passes over the test examples for cosine, one for dot.

    Args:
        groups: for each test example the number of its group, 0 to G - 1; the other arguments as for
            `pairwise_influence`.

    Returns: [G, n_train], in the model's floating type.
    Raises: GradientError as `pairwise_influence`, or if the groups do not fit the test examples.
    """
    _check_similarity(similarity)
    tests = list(test)
    group_M = _checked_groups(groups, sum(map(batch_size, tests)))
    weight_M = 1.0 / torch.bincount(group_M).double()[group_M]
    with GradientEngine(model, loss=loss, parameters=parameters) as engine:
        if similarity == "cosine":
            norm_M = torch.cat([squared_norms(engine, batch) for batch in tests]).sqrt()
            warn_of_vanishing("test", norm_M)
            weight_M = torch.where(norm_M > 0, weight_M / norm_M.clamp_min(1e-300), 0.0)
        bank = fill_means(engine, tests, group_M, weight_M)
        scores = [score_batch(engine, bank, batch) for batch in RepeatedBatches(train)]
        dtype = engine.dtype
    mean_GN = torch.cat([score.dot_MB for score in scores], dim=1)
    if similarity == "cosine":
        norm_N = torch.cat([score.norm_B for score in scores])
        warn_of_vanishing("training", norm_N)
        mean_GN = torch.where(norm_N > 0, mean_GN / norm_N.clamp_min(1e-300), 0.0)
    return mean_GN.to(dtype)


def _check_similarity(similarity: str) -> None:
    if similarity not in ("dot", "cosine"):
        raise GradientError(f'similarity is "{similarity}"; expected "dot" or "cosine"')


def _checked_groups(groups: Sequence[int], tests: int) -> Tensor:
    if len(groups) != tests or tests == 0:
        raise GradientError(
            f"there are {len(groups)} groups for {tests} test examples; expected one for each"
        )
    group_M = torch.tensor(list(groups))
    if int(group_M.min()) < 0 or bool((torch.bincount(group_M) == 0).any()):
        raise GradientError(
            "groups must be numbered from 0 without gaps: a group without examples has no mean"
        )
    return group_M


def portions_of(
    engine: GradientEngine,
    train: Iterable[Batch],
    tests: list[Batch],
    nbytes: int,
    bank_dtype: BankDtype,
) -> tuple[Portion, ...]:
    """What each pass scores, so that its gradients fit the memory, warning of several passes."""
    for batch in tests:
        check_batch(batch)
    examples = sum(map(batch_size, tests))
    tokens = max(
        (value.shape[1] for batch in tests for value in batch.values() if value.dim() == 2),
        default=1,
    )
    if not examples:
        raise GradientError("there is no test batch (an iterator that was already consumed?)")
    calls = engine.calls(next(batch for batch in tests if batch_size(batch)))
    fits = bank_nbytes(engine.selection, tokens, examples, bank_dtype, calls) <= nbytes
    train_examples = 0 if fits else sum(map(batch_size, train))  # for one pass it need not bear two
    work = Work(train_examples, examples, tokens)
    portions = portions_within(nbytes, engine.selection, work, bank_dtype, calls)
    if len(portions) > 1:
        warnings.warn(
            f"the gradients of {examples} test examples do not fit {readable(nbytes)} at once: the training set is "
            f"passed over {len(portions)} times. Raise memory=, or compare with means (mean_influence)",
            SprachbundWarning,
            stacklevel=3,
        )
    return portions
