"""kronfluence with the identity for the Hessian, which leaves the inner product of gradients.

https://github.com/pomonam/kronfluence/blob/main/DOCUMENTATION.md and its GLUE example.
"""

import tempfile

from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments
from kronfluence.task import Task
from shapes import Batch
from torch import Tensor, nn
from transformers import PreTrainedModel

from adapters.setting import dataset

Example = tuple[Tensor, Tensor, Tensor]


class Classification(Task):
    """The summed loss, for training and test examples alike."""

    def compute_train_loss(self, batch: Example, model: nn.Module, sample: bool = False) -> Tensor:
        if sample:
            raise NotImplementedError("labels are sampled for a Fisher matrix, and there is none")
        ids, mask, labels = batch
        logits = model(input_ids=ids, attention_mask=mask).logits
        return nn.functional.cross_entropy(logits, labels, reduction="sum")

    def compute_measurement(self, batch: Example, model: nn.Module) -> Tensor:
        return self.compute_train_loss(batch, model)

    def get_attention_mask(self, batch: Example) -> Tensor:
        return batch[1]


def scores(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> Tensor:
    task = Classification()
    with tempfile.TemporaryDirectory() as folder:
        analyzer = Analyzer(
            "peers",
            prepare_model(model, task),
            task,
            cpu=True,
            output_dir=folder,
            disable_tqdm=True,
        )
        arguments = FactorArguments(strategy="identity")
        analyzer.fit_all_factors("identity", dataset(train), factor_args=arguments)
        analyzer.compute_pairwise_scores(
            "scores",
            "identity",
            query_dataset=dataset(test),
            train_dataset=dataset(train),
            per_device_query_batch_size=len(test[0]["labels"]),
            per_device_train_batch_size=len(train[0]["labels"]),
        )
        return analyzer.load_pairwise_scores("scores")["all_modules"]
