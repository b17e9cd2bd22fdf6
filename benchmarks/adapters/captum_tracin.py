"""captum's TracInCP in its three forms: https://captum.ai/api/influence.html"""

import tempfile
from pathlib import Path

import torch
from captum.influence import TracInCP, TracInCPFast
from shapes import Batch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from adapters.setting import Logits, loader


def exact(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> Tensor:
    """Gradients example by example: the loss must not be reduced."""
    return example_by_example(model, loader(train), loader(test))


def exact_one_by_one(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> Tensor:
    """The same with batches of one, against the advice to make batches large.

    For each example it goes backward through the example's whole batch, so that its time grows with the batch.
    """
    return example_by_example(model, loader(train, 1), loader(test, 1))


def example_by_example(model: PreTrainedModel, train: DataLoader, test: DataLoader) -> Tensor:
    net = Logits(model)
    with tempfile.TemporaryDirectory() as folder:
        loss = nn.CrossEntropyLoss(reduction="none")
        return TracInCP(net, train, [checkpoint(net, folder)], loss_fn=loss).influence(test)


def sample_wise(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> Tensor:
    """A batch at once, through hooks: the loss must be reduced; documented for Linear and Conv2d layers only."""
    net = Logits(model)
    with tempfile.TemporaryDirectory() as folder:
        method = TracInCP(
            net,
            loader(train),
            [checkpoint(net, folder)],
            loss_fn=nn.CrossEntropyLoss(reduction="sum"),
            sample_wise_grads_per_batch=True,
        )
        return method.influence(loader(test))


def fast(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> Tensor:
    """The last fully connected layer alone; takes one test batch a call, and no loader."""
    net = Logits(model)
    with tempfile.TemporaryDirectory() as folder:
        method = TracInCPFast(
            net,
            "model.classifier.out_proj",
            loader(train),
            [checkpoint(net, folder)],
            loss_fn=nn.CrossEntropyLoss(reduction="sum"),
        )
        return torch.cat([method.influence(tuple(batch)) for batch in loader(test)])


def checkpoint(net: nn.Module, folder: str) -> str:
    """captum reads the weights of every checkpoint from a file; without a learning rate in it, that is 1."""
    path = Path(folder) / "checkpoint.pt"
    torch.save(net.state_dict(), path)
    return str(path)
