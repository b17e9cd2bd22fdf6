"""An index: whose training examples a new prediction rests on, estimated at once and settled exactly on demand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sprachbund.batching import Batcher
from sprachbund.data.corpus import Corpus
from sprachbund.errors import InfluenceError, StudyError
from sprachbund.gradients.batches import Batch
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.pairwise import Similarity, pairwise_influence
from sprachbund.gradients.products import product
from sprachbund.index.files import IndexFiles, load
from sprachbund.index.gradients import sketch_batch
from sprachbund.index.sketch import SignSketch
from sprachbund.modeling import collate, encode, load_checkpoint, load_tokenizer
from sprachbund.runs.checkpoint_files import content_fingerprint

_CANDIDATES_PER_RESULT = 5


@dataclass(frozen=True)
class CompressedCheckpoint:
    """The training examples' compressed gradients at one checkpoint, in memory."""

    vectors_NR: Tensor
    norm_N: Tensor
    directions_DR: Tensor

    @property
    def left_out(self) -> float:
        """Mean part, by squares, of a training example's unit sketch that lies outside the kept directions.

        What is outside for two such examples adds at most about this to their cosine; a query unlike all training
        examples has more outside.
        """
        squares_N = self.vectors_NR.square().sum(dim=1)[self.norm_N > 0]
        return float((1.0 - squares_N).clamp_min(0.0).mean()) if len(squares_N) else 0.0

    def search(self, sketch_QD: Tensor, similarity: Similarity) -> Tensor:
        """Estimated similarity of queries' sketches with every training example, [Q, N]: one product over memory."""
        query_QR = sketch_QD @ self.directions_DR
        projected_QN = product(self.vectors_NR, query_QR.T).T
        if similarity == "cosine":
            norm_Q: Tensor = sketch_QD.norm(dim=1)
            return projected_QN / norm_Q.clamp_min(1e-30)[:, None]
        return projected_QN * self.norm_N


class Index:
    """Compressed gradients of a run's training examples at its checkpoints."""

    def __init__(self, path: Path, about: dict[str, Any], train: Corpus) -> None:
        self.path, self.train = path, train
        self._about, self._files = about, IndexFiles(path)
        self._loaded: dict[int, CompressedCheckpoint] = {}
        self._sketched: SignSketch | None = None
        self._models: dict[int, tuple[PreTrainedModel, PreTrainedTokenizerBase]] = {}

    @classmethod
    def open(cls, path: str | Path) -> "Index":
        """Raises: StudyError if there is no index, or an unfinished one."""
        folder = Path(path)
        about = IndexFiles(folder).read_about()
        index = cls(folder, about, Corpus.read(folder / "train.jsonl"))
        for step in index.steps:
            load(index._files.directions(step))
        return index

    @property
    def steps(self) -> tuple[int, ...]:
        """The optimizer steps of the checkpoints."""
        return tuple(checkpoint["step"] for checkpoint in self._about["checkpoints"])

    @cached_property
    def resolvable_cosine(self) -> float:
        """Cosines smaller than this cannot be told from zero.

        The sketch's standard deviation, 1 / sqrt of its numbers, joined with what the kept directions leave out at the
        last checkpoint (`CompressedCheckpoint.left_out`).
        """
        left_out = self.at(self.steps[-1]).left_out
        return math.hypot(1.0 / math.sqrt(self._about["sketch"]), left_out)

    def batch(
        self,
        texts: Sequence[str],
        labels: Sequence[str] | None = None,
        *,
        pairs: Sequence[str] | None = None,
        step: int | None = None,
    ) -> dict[str, Tensor]:
        """Texts as one batch of queries, tokenised as in training.

        Args:
            texts: in any language.
            labels: their classes by name; by default what the model predicts at the checkpoint.
            pairs: second texts, where the training examples have them.
            step: the checkpoint, by default the last.

        Raises: DataError for an unknown label or an empty text; ValueError if the lists differ in length.
        """
        model, tokenizer = self._model(self._known(step))
        of_each = zip(
            texts,
            [self.train.labels[0]] * len(texts) if labels is None else labels,
            [""] * len(texts) if pairs is None else pairs,
            strict=True,
        )
        rows = [
            {
                "language": self.train.languages[0],
                "text": text,
                "label": label,
                "text_pair": pair,
                "split": "test",
            }
            for text, label, pair in of_each  # the language is not read
        ]
        corpus = Corpus.from_rows(rows, labels=self.train.labels, name="queries")
        encoded = encode(corpus, tokenizer, self._about["max_length"])
        batch = {
            name: value.to(model.device) for name, value in collate(encoded, tokenizer).items()
        }
        if labels is None:
            with torch.no_grad():
                batch["labels"] = model(**batch).logits.argmax(dim=1)
        return batch

    def query(
        self, batch: Batch, *, similarity: Similarity = "cosine", step: int | None = None
    ) -> Tensor:
        """Estimated similarity of the queries' gradients with every training example's, [Q, N].

        A cosine is known to about `resolvable_cosine`; `top_k` and `exact` settle it. Each call proves its gradients.

        Args:
            batch: collated queries with `labels`, the classes by number, as `batch` makes them.
            similarity: "cosine" or "dot", of the compressed gradients.
            step: the checkpoint, by default the last.

        Raises: InfluenceError for a step without checkpoint; StudyError if the checkpoint is not the one that was
            indexed; GradientError as attribution does.
        """
        step = self._known(step)
        model, _ = self._model(step)
        with GradientEngine(model) as engine:
            sketch_QD, _ = sketch_batch(engine, self._sketch(engine.device), batch)
        return self.at(step).search(sketch_QD, similarity)

    def top_k(
        self,
        batch: Batch,
        k: int = 10,
        *,
        similarity: Similarity = "cosine",
        step: int | None = None,
    ) -> pd.DataFrame:
        """The k strongest proponents of each query: found by estimate, then scored exactly and ordered by that.

        Returns: the columns query (its position in the batch), rank (from 1), id, language, text, label and score,
            which is exact; text_pair where the training examples have one.
        Raises: InfluenceError if k is larger than the training set.
        """
        if not 1 <= k <= len(self.train):
            raise InfluenceError(
                f"k is {k}; expected 1 to {len(self.train)}, the training examples"
            )
        count = min(k * _CANDIDATES_PER_RESULT, len(self.train))
        estimate = self.query(batch, similarity=similarity, step=step)
        candidates = estimate.topk(count, dim=1).indices
        union = torch.unique(candidates)
        exact_QC = self.exact(batch, union.tolist(), similarity=similarity, step=step)
        columns = torch.searchsorted(union, candidates)
        scores, order = exact_QC.gather(1, columns).topk(k, dim=1)
        chosen = candidates.gather(1, order)
        return self._table(chosen, scores)

    def exact(
        self,
        batch: Batch,
        positions: Sequence[int],
        *,
        similarity: Similarity = "cosine",
        step: int | None = None,
    ) -> Tensor:
        """Exact similarity of the queries with the training examples at these positions, [Q, len(positions)].

        In as many passes over these as the memory that is free asks for.
        """
        step = self._known(step)
        model, tokenizer = self._model(step)
        rows = encode(self.train.take(positions), tokenizer, self._about["max_length"])
        packed = list(Batcher(tokenizer, 2048, 32)(rows))
        found = pairwise_influence(model, [train for _, train in packed], [batch], similarity)
        scores = torch.empty_like(found)
        scores[:, [position for where, _ in packed for position in where]] = found
        return scores

    def at(self, step: int) -> CompressedCheckpoint:
        """One checkpoint's compressed gradients, read into memory on first use."""
        if step not in self._loaded:
            vectors, norms, directions = (
                torch.from_numpy(load(path(step)).astype("float32"))
                for path in (self._files.vectors, self._files.norms, self._files.directions)
            )
            self._loaded[step] = CompressedCheckpoint(vectors, norms[:, 0].contiguous(), directions)
        return self._loaded[step]

    def _sketch(self, device: torch.device) -> SignSketch:
        if self._sketched is None or self._sketched.device != device:
            self._sketched = SignSketch(self._about["sketch"], self._about["seed"], device)
        return self._sketched

    def _known(self, step: int | None) -> int:
        step = self.steps[-1] if step is None else step
        if step not in self.steps:
            known = ", ".join(map(str, self.steps))
            raise InfluenceError(f"step {step} has no checkpoint in {self.path}; there are {known}")
        return step

    def _model(self, step: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        if step not in self._models:
            checkpoint = self._about["checkpoints"][self.steps.index(step)]
            path = Path(checkpoint["path"])
            if path.is_dir() and content_fingerprint(path) != checkpoint["content"]:
                raise StudyError(
                    f"{path}: not the checkpoint that {self.path} was made from; remove the index and build it again"
                )
            model = load_checkpoint(path, self.train.labels, self._about["max_length"])
            self._models = {step: (model, load_tokenizer(path))}  # one at a time: they are large
        return self._models[step]

    def _table(self, chosen_QK: Tensor, score_QK: Tensor) -> pd.DataFrame:
        frame = self.train.frame
        queries, k = chosen_QK.shape
        positions = chosen_QK.flatten().tolist()
        pair = ["text_pair"] if self.train.has_pairs else []
        shown = ["id", "language", "text", *pair, "label"]
        table = frame.iloc[positions][shown].reset_index(drop=True)
        table.insert(0, "query", [query for query in range(queries) for _ in range(k)])
        table.insert(1, "rank", list(range(1, k + 1)) * queries)
        return table.assign(score=score_QK.flatten().tolist())
