"""bergson's GradientCollector with a Scorer, without projection: https://bergson.readthedocs.io (gradient collection)

Its ready pipelines take a language model's next-token loss; the collector is the documented level below them, a
context around the caller's own forward and backward. Two passes: test gradients into memory, then scores on the fly.
"""

import tempfile

import torch
from bergson import GradientCollector, GradientProcessor, IndexConfig, Scorer
from bergson.score.score_writer import InMemorySequenceScoreWriter
from datasets import Dataset
from shapes import Batch
from torch import Tensor, nn
from transformers import PreTrainedModel


def examples(data: list[Batch]) -> int:
    return sum(len(batch["labels"]) for batch in data)


def collect(
    model: PreTrainedModel, data: list[Batch], folder: str, scorer: Scorer | None
) -> list[dict[str, Tensor]]:
    """Run the batches under the collector; the gradients of each, by module, where nothing scores them.

    Hooks are put on `model.base_model`, as documented: they take inputs [B, T, I] only, and the head's are [B, I].
    """
    collector = GradientCollector(
        model=model.base_model,
        data=Dataset.from_dict({"example": range(examples(data))}),
        cfg=IndexConfig(run_path=folder),
        processor=GradientProcessor(include_bias=True),
        scorer=scorer,
        skip_index=True,
    )
    found, start = [], 0
    for batch in data:
        indices = list(range(start, start + len(batch["labels"])))
        start += len(indices)
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        with collector.with_batch(None):
            logits = model(**inputs).logits
            losses = nn.functional.cross_entropy(logits, batch["labels"], reduction="none")
            losses.sum().backward()
            model.zero_grad()
        found.append(dict(collector.mod_grads))
        collector.process_batch(indices, losses=losses)
    return found


def scores(model: PreTrainedModel, train: list[Batch], test: list[Batch]) -> Tensor:
    with tempfile.TemporaryDirectory() as folder:
        found = collect(model, test, folder, None)
        query = {name: torch.cat([batch[name] for batch in found]) for name in found[0]}
        writer = InMemorySequenceScoreWriter(examples(train), examples(test))
        scorer = Scorer(query, list(query), writer, model.device, model.dtype)
        collect(model, train, folder, scorer)
    return writer.scores.T
