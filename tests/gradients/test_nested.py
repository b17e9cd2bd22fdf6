"""Nested structures, walked as torch walks them."""

from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only
from transformers.modeling_outputs import BaseModelOutput

from sprachbund.gradients.nested import tensors, with_each

Pair = namedtuple("Pair", ["first", "second"])
A, B, C = torch.arange(3.0), nn.Parameter(torch.ones(2)), torch.zeros((), dtype=torch.long)
STRUCTURES = {
    "a tensor": A,
    "nothing": None,
    "arguments": ((A, None, 3, B), {"mask": C, "flag": True, "name": "x"}),
    "a model's output": BaseModelOutput(last_hidden_state=A, hidden_states=(B, C)),
    "in a list": [A, [B, {"again": (A,)}]],
    "a named tuple": Pair(A, Pair(None, B)),
    "an ordered dict": OrderedDict(b=B, a=[A]),
    "an unknown object": (object(), A),
    "empty": ((), {}, []),
}


@pytest.mark.parametrize("values", STRUCTURES.values(), ids=STRUCTURES)
def test_tensors_come_in_torch_s_order(values):
    expected = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
    found = list(tensors(values))
    assert len(found) == len(expected)
    assert all(one is other for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", [Tensor, nn.Parameter])
@pytest.mark.parametrize("values", STRUCTURES.values(), ids=STRUCTURES)
def test_tensors_are_replaced_as_torch_replaces_them(values, kind):
    made = {}

    def double(value):
        return made.setdefault(id(value), value.detach() * 2)

    expected, found = tree_map_only(kind, double, values), with_each(kind, double, values)
    assert type(found) is type(expected)
    leaves, others = tree_leaves(found), tree_leaves(expected)
    assert all(one is other for one, other in zip(leaves, others, strict=True))
