"""dattri's TracIn: https://github.com/TRAIS-Lab/dattri (README, examples/noisy_label_detection)"""

from typing import Any

import torch
from dattri.algorithm import TracInAttributor
from dattri.task import AttributionTask
from shapes import Batch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from adapters.setting import Logits, loader
from adapters.vmap_grad import open_mask


def exact(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> Tensor:
    """No projection: `proj_type="identity"`. Passing no projector at all means the default one."""
    return attribute(model, train, test, {"proj_type": "identity"})


def default(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> Tensor:
    """As the examples do: no projector named, so a random one to 512 numbers."""
    return attribute(model, train, test, None)


def attribute(
    model: PreTrainedModel,
    train: list[Batch],
    test: list[Batch],
    projector: dict[str, Any] | None,
) -> Tensor:
    net = Logits(model)

    def loss(parameters: dict[str, Tensor], example: tuple[Tensor, ...]) -> Tensor:
        """Of one example: dattri maps over the batch with vmap, hence the ready mask."""
        ids, mask, label = example
        logits = functional_call(net, parameters, (ids[None], open_mask(mask)[None]))
        return nn.functional.cross_entropy(logits, label[None])

    task = AttributionTask(loss_func=loss, model=net, checkpoints=net.state_dict())
    attributor = TracInAttributor(
        task=task,
        weight_list=torch.ones(1),
        normalized_grad=False,
        projector_kwargs=projector,
    )
    with torch.no_grad():
        return attributor.attribute(loader(train), loader(test)).T
