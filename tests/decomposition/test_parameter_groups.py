"""The groups that influence is split by: which there are, in what order, and which rows the shared ones are."""

import numpy as np
import torch

from architectures import ARCHITECTURES
from sprachbund.decomposition.parameter_groups import OTHER, SHARED, parameter_partition
from sprachbund.gradients.parameters import select_parameters
from sprachbund.tokens import shared_ids

WORDS = "roberta.embeddings.word_embeddings.weight"


def partition(shared, name="xlm-roberta", wanted=None):
    model = ARCHITECTURES[name].model(torch.float32)
    return parameter_partition(model, select_parameters(model, wanted), np.array(shared, dtype=int))


def test_a_sub_word_is_shared_if_two_languages_have_it_however_often_one_has():
    tokens = {"en": [3, 3, 5, 9], "de": [5, 7, 7], "fr": [9, 5]}
    assert shared_ids({tag: np.array(ids) for tag, ids in tokens.items()}).tolist() == [5, 9]
    assert shared_ids({"en": np.array([1, 1, 2])}).tolist() == []


def test_groups_go_from_the_embeddings_to_the_head_whatever_the_order_of_definition():
    found = partition([5, 9])
    assert found.groups == (SHARED, OTHER, "layer 0", "layer 1", "head")
    shared, other = found.parts[WORDS]
    assert shared.kept_R.nonzero()[:, 0].tolist() == [5, 9]
    assert torch.equal(other.kept_R, ~shared.kept_R)
    (positions,) = found.parts["roberta.embeddings.position_embeddings.weight"]
    assert (found.groups[positions.group], positions.kept_R) == (OTHER, None)


def test_groups_without_a_parameter_are_left_out():
    assert SHARED not in partition([]).groups
    attributed = partition([5], wanted=lambda name: "encoder" in name)
    assert attributed.groups == ("layer 0", "layer 1")


def test_a_table_that_is_embedding_and_head_is_split_by_rows():
    found = partition([5], "bert-mlm, tied")
    parts = found.parts["bert.embeddings.word_embeddings.weight"]
    assert [found.groups[part.group] for part in parts] == [SHARED, OTHER]
