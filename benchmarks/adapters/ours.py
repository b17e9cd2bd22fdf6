"""This project's engine: every trainable parameter, exactly."""

from shapes import Batch
from torch import Tensor
from transformers import PreTrainedModel

from sprachbund import pairwise_influence


def pairwise(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> Tensor:
    return pairwise_influence(model, train, test, "dot")
