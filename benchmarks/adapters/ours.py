"""This project's engine: every trainable parameter, exactly."""

from torch import Tensor
from transformers import PreTrainedModel

from adapters.setting import Batch
from sprachbund import pairwise_influence


def pairwise(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> Tensor:
    return pairwise_influence(model, train, test, "dot")
