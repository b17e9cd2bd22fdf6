"""This project's engine: every trainable parameter, exactly; or only those that a peer scores."""

from shapes import Batch
from torch import Tensor
from transformers import PreTrainedModel

from sprachbund import pairwise_influence


def pairwise(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> Tensor:
    return pairwise_influence(model, train, test, "dot")


def last_weight(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> Tensor:
    """What captum's TracInCPFast scores."""
    wanted = "classifier.out_proj.weight"
    return pairwise_influence(model, train, test, "dot", parameters=lambda name: name == wanted)
