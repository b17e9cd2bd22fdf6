"""The scores to compare with: autograd in float64, one example at a time, over every trainable parameter.

Run in its own process; uses no attribution library, ours included.
"""

import sys
from collections.abc import Iterator

import torch
from shapes import Batch
from torch import Tensor, nn

from adapters.catalogue import Job
from adapters.setting import small_model, train_and_test


def gradient(model: nn.Module, batch: Batch, position: int) -> Tensor:
    """The flat gradient of one example's loss."""
    one = {name: value[position : position + 1] for name, value in batch.items()}
    parameters = [p for p in model.parameters() if p.requires_grad]
    parts = torch.autograd.grad(model(**one).loss, parameters, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


def scores(model: nn.Module, train: list[Batch], test: list[Batch]) -> Tensor:
    """Inner products [M, N]; the test gradients are kept, the training gradients are not."""

    def rows(data: list[Batch]) -> Iterator[Tensor]:
        for batch in data:
            for position in range(len(batch["labels"])):
                yield gradient(model, batch, position)

    test_MP = torch.stack(list(rows(test)))
    return torch.stack([test_MP @ row for row in rows(train)], dim=1)


def main() -> None:
    job = Job.from_json(sys.argv[1])
    torch.set_num_threads(job.sizes.threads)
    torch.save(scores(small_model().double(), *train_and_test(job.sizes)), job.truth)


if __name__ == "__main__":
    main()
