"""Scores by group of parameters, and without mean gradients, against dense gradients of autograd."""

import warnings

import pytest
import torch

import builders
import oracle
from architectures import ARCHITECTURES, collate
from sprachbund.errors import GradientError, SprachbundWarning
from sprachbund.gradients import row_banks
from sprachbund.gradients.by_group import fill_grouped_bank, score_batch_by_group
from sprachbund.gradients.centred import NO_GROUP, Uncentred, centred
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.module_groups import module_groups
from sprachbund.gradients.partition import Partition
from sprachbund.gradients.scoring import fill_means, score_batch

TRAIN, TEST = builders.examples(9, seed=1), builders.examples(5, seed=2)
LANGUAGE = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1])


def even_rows(rows: int) -> dict[str, torch.Tensor]:
    is_even = torch.arange(rows) % 2 == 0
    return {"even": is_even, "odd": ~is_even}


def partition_of(model, table: str) -> Partition:
    """By module, and the rows of one table by whether they are even."""
    group_of = dict(module_groups(model))
    group_of[table] = even_rows(model.get_parameter(table).shape[0])
    return Partition.of(group_of)


def dense_by_group(model, batches, partition) -> dict[str, torch.Tensor]:
    """For each group autograd's gradients with everything outside the group set to zero, [examples, parameters]."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    whole = oracle.gradients(model, batches)
    kept = {group: [] for group in partition.groups}
    for name, parameter in named:
        for number, group in enumerate(partition.groups):
            mask = torch.zeros(parameter.shape, dtype=torch.float64)
            for part in partition.parts[name]:
                if part.group == number:
                    mask[slice(None) if part.kept_R is None else part.kept_R] = 1.0
            kept[group].append(mask.flatten())
    return {group: whole * torch.cat(masks) for group, masks in kept.items()}


def found_by_group(model, train, test, partition):
    with warnings.catch_warnings(), GradientEngine(model) as engine:
        warnings.simplefilter("ignore", SprachbundWarning)
        bank = fill_grouped_bank(engine, test, partition)
        scores = [score_batch_by_group(engine, bank, batch) for batch in train]
    dot = torch.cat([score.dot_GMB for score in scores], dim=2)
    return dot, bank.squared_norm_GM, torch.cat([score.squared_norm_GB for score in scores], dim=1)


TABLES = {
    "xlm-roberta": "roberta.embeddings.word_embeddings.weight",
    "gpt2": "transformer.wte.weight",
    "distilbert": "distilbert.embeddings.word_embeddings.weight",
    "bert-mlm, tied": "bert.embeddings.word_embeddings.weight",
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("longest", [20, 60])
def test_each_group_equals_autograd_restricted_to_its_parameters_and_rows(name, longest):
    """In both forms of the linear contraction; a tied table's rows have their part of the head's gradient too."""
    model = ARCHITECTURES[name].model(torch.float64)
    train = [collate(builders.examples(4, longest, seed=s), name) for s in (1, 2)]
    test = [collate(builders.examples(3, longest, seed=3), name)]
    partition = partition_of(model, TABLES[name])
    dot, test_squared, train_squared = found_by_group(model, train, test, partition)
    of_test, of_train = (dense_by_group(model, rows, partition) for rows in (test, train))
    for number, group in enumerate(partition.groups):
        expected = of_test[group] @ of_train[group].T
        assert oracle.relative_error(dot[number], expected) < 1e-10, group
        for squared, dense in ((test_squared, of_test), (train_squared, of_train)):
            torch.testing.assert_close(
                squared[number], dense[group].square().sum(1), rtol=1e-9, atol=1e-14
            )
    assert oracle.relative_error(dot.sum(0), oracle.influence(model, train, test)) < 1e-10


def test_rows_that_are_in_no_group_or_in_two_are_an_error():
    rows = even_rows(6)
    with pytest.raises(GradientError, match="row 1 of table belongs to 0 groups"):
        Partition.of({"table": {"even": rows["even"]}})
    with pytest.raises(GradientError, match="row 0 of table belongs to 2 groups"):
        Partition.of({"table": rows | {"all": torch.ones(6, dtype=torch.bool)}})


def test_a_parameter_without_a_group_is_an_error_and_not_left_out():
    model = builders.xlm_roberta(torch.float64)
    partition = Partition.of({"classifier.dense.weight": "head"})
    with GradientEngine(model) as engine, pytest.raises(GradientError, match="belongs to no group"):
        fill_grouped_bank(engine, builders.batches(TEST, 5), partition)


def test_no_test_example_is_an_error():
    model = builders.xlm_roberta()
    with GradientEngine(model) as engine, pytest.raises(GradientError, match="no test batch"):
        fill_grouped_bank(engine, [], partition_of(model, TABLES["xlm-roberta"]))


def products(model, train, test):
    """All that `centred` needs, from the engine."""
    weights = 1.0 / torch.bincount(LANGUAGE).double()[LANGUAGE]
    partition = partition_of(model, TABLES["xlm-roberta"])
    dot, test_squared, train_squared = found_by_group(model, train, test, partition)
    with GradientEngine(model) as engine:
        means = fill_means(engine, train, LANGUAGE, weights)
        mean_dot = torch.cat([score_batch(engine, means, batch).dot_MB.T for batch in train])
    return Uncentred(dot.sum(0), mean_dot, test_squared.sum(0), train_squared.sum(0))


@pytest.mark.parametrize("test_language", [[0, 1, 2, 0, 1], [NO_GROUP, 1, NO_GROUP, 0, 2]])
@pytest.mark.parametrize("at_once", [0, 20_000])
def test_centred_gradients_are_the_dense_ones_less_their_means(test_language, at_once, monkeypatch):
    monkeypatch.setattr(row_banks, "_ENTRIES_AT_ONCE", at_once)
    model = builders.xlm_roberta(torch.float64)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    groups = torch.tensor(test_language)
    found = centred(products(model, train, test), groups, LANGUAGE)
    test_MP, train_NP = oracle.gradients(model, test), oracle.gradients(model, train)
    mean_LP = torch.stack([train_NP[language == LANGUAGE].mean(0) for language in range(3)])
    train_NP = train_NP - mean_LP[LANGUAGE]
    for position, group in enumerate(test_language):
        if group != NO_GROUP:
            test_MP[position] -= mean_LP[group]
    expected = test_MP @ train_NP.T
    assert oracle.relative_error(found.dot_MN, expected) < 1e-10
    torch.testing.assert_close(found.test_norm_M, test_MP.norm(dim=1), rtol=1e-9, atol=0)
    torch.testing.assert_close(found.train_norm_N, train_NP.norm(dim=1), rtol=1e-9, atol=0)


def test_without_its_mean_no_language_has_influence_on_average():
    model = builders.xlm_roberta(torch.float64)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    found = centred(products(model, train, test), torch.full((5,), NO_GROUP), LANGUAGE)
    for language in range(3):
        average = found.dot_MN[:, language == LANGUAGE].mean(1)
        assert float(average.abs().max()) < 1e-12 * float(found.dot_MN.abs().max()) + 1e-14


def test_the_only_example_of_its_language_is_its_mean_and_leaves_nothing():
    model = builders.xlm_roberta(torch.float32)
    train, test = builders.batches(TRAIN[:3], 3), builders.batches(TEST, 5)
    language = torch.tensor([0, 1, 2])
    dot, test_squared, train_squared = found_by_group(
        model, train, test, partition_of(model, TABLES["xlm-roberta"])
    )
    with GradientEngine(model) as engine:
        means = fill_means(engine, train, language, torch.ones(3, dtype=torch.float64))
        mean_dot = score_batch(engine, means, train[0]).dot_MB.T
    given = Uncentred(dot.sum(0), mean_dot, test_squared.sum(0), train_squared.sum(0))
    found = centred(given, torch.zeros(5, dtype=torch.long), language)
    assert found.train_norm_N.tolist() == [0.0, 0.0, 0.0], "rounding must not pass for a direction"
