"""The groups of parameters that influence is split by: shared and other embeddings, each layer, the head."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from sprachbund.gradients.module_groups import EMBEDDINGS, HEAD, module_groups
from sprachbund.gradients.parameters import Selection
from sprachbund.gradients.partition import Partition, Rows

SHARED, OTHER = "embeddings: shared sub-words", "embeddings: other"

_ORDER = {EMBEDDINGS: 0, HEAD: 2}
_LAYERS = 1


def parameter_partition(
    model: PreTrainedModel, selection: Selection, shared: npt.NDArray[np.int64]
) -> Partition:
    """The attributed parameters by `module_groups`, the vocabulary's rows by whether their token is in `shared`.

    A table that is embedding and head at once belongs to the embeddings, with both its gradients.
    """
    group_of = module_groups(model)
    vocabulary = model.get_input_embeddings()
    table = vocabulary.weight if isinstance(vocabulary, torch.nn.Embedding) else None
    found: dict[str, str | Rows] = {}
    for name in sorted(selection.parameters, key=lambda name: _ORDER.get(group_of[name], _LAYERS)):
        if selection.parameters[name] is table:
            found[name] = _rows(table, shared)
        else:
            found[name] = OTHER if group_of[name] == EMBEDDINGS else group_of[name]
    return Partition.of(found)


def _rows(table: Tensor, shared: npt.NDArray[np.int64]) -> Rows:
    is_shared_R = torch.zeros(len(table), dtype=torch.bool, device=table.device)
    is_shared_R[torch.from_numpy(shared).to(table.device)] = True
    return {SHARED: is_shared_R, OTHER: ~is_shared_R}
