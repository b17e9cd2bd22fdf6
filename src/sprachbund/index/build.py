"""Building an index: one pass over the training examples at each checkpoint, then its principal directions.

Sketches are written shard by shard, so that a build that is killed goes on where it stopped; they are removed once a
checkpoint's compressed vectors stand.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sprachbund.batching import Batcher, EncodedRow
from sprachbund.data.corpus import Corpus
from sprachbund.folder_lock import only_process
from sprachbund.gradients.engine import GradientEngine
from sprachbund.index.config import IndexConfig
from sprachbund.index.files import Array, IndexFiles, load, save
from sprachbund.index.gradients import sketch_batch
from sprachbund.index.index import Index
from sprachbund.index.principal import principal_directions, sample_positions
from sprachbund.index.sketch import SignSketch
from sprachbund.modeling import encode, load_checkpoint, load_tokenizer
from sprachbund.runs import Checkpoint, Run
from sprachbund.runs.checkpoint_files import content_fingerprint
from sprachbund.watch import Notice, Progress, Watch

_SHARD = 1024
_TOKENS_PER_BATCH, _EXAMPLES_PER_BATCH = 2048, 32


def build_index(
    run: Run,
    train: Corpus,
    path: Path,
    *,
    config: IndexConfig,
    max_length: int = 128,
    provenance: Mapping[str, Any] | None = None,
    on_progress: Progress | None = None,
    on_notice: Notice | None = None,
) -> Index:
    """Compress the gradient of every training example at every checkpoint of a run into the folder `path`.

    Killed at any moment and called again with the same arguments, it computes what is missing. `on_notice` is told once
    how many parameters are covered.

    Raises: StudyError if the folder holds another index, cannot be written, or another process builds it;
        GradientError if a gradient would be wrong.
    """
    files = IndexFiles(path)
    watch = Watch(len(run.checkpoints) * len(train), on_progress, on_notice)
    made_from = {**config.model_dump(), **(provenance or {}), **_about(run, train, max_length)}
    with only_process(path):
        files.write_about(made_from)
        train.write(path / "train.jsonl")
        for position, checkpoint in enumerate(run.checkpoints, start=1):
            if not files.is_finished(checkpoint.step):
                _compress(files, checkpoint, train, config, max_length, watch)
            watch.reach(position * len(train))
    return Index.open(path)


def _about(run: Run, train: Corpus, max_length: int) -> dict[str, Any]:
    return {
        "max_length": max_length,
        "train": train.fingerprint(),
        "checkpoints": [
            {
                "path": str(checkpoint.path.resolve()),
                "step": checkpoint.step,
                "epoch": checkpoint.epoch,
                "learning_rate": checkpoint.learning_rate,
                "content": content_fingerprint(checkpoint.path),
            }
            for checkpoint in run.checkpoints
        ],
    }


def _compress(
    files: IndexFiles,
    checkpoint: Checkpoint,
    train: Corpus,
    config: IndexConfig,
    max_length: int,
    watch: Watch,
) -> None:
    """Sketch what is not sketched yet at one checkpoint, then keep its principal directions only."""
    starts = range(0, len(train), _SHARD)
    if any(not files.shard(checkpoint.step, start).exists() for start in starts):
        tokenizer = load_tokenizer(checkpoint.path)
        rows = encode(train, tokenizer, max_length)
        batcher = Batcher(tokenizer, _TOKENS_PER_BATCH, _EXAMPLES_PER_BATCH)
        model = load_checkpoint(checkpoint.path, train.labels, max_length)
        with GradientEngine(model) as engine:
            watch.say(engine.selection.coverage())
            sketch = SignSketch(config.sketch, config.seed, engine.device)
            for start in starts:
                shard, part = files.shard(checkpoint.step, start), rows[start : start + _SHARD]
                if not shard.exists():
                    save(shard, _sketch_shard(engine, sketch, batcher, part))
                watch.add(len(part))
    _keep_principal(
        files, checkpoint.step, [files.shard(checkpoint.step, s) for s in starts], config
    )


def _sketch_shard(
    engine: GradientEngine, sketch: SignSketch, batcher: Batcher, rows: list[EncodedRow]
) -> Array:
    """[n, D + 1] float32: sketches, and in the last column exact norms."""
    values = torch.zeros(len(rows), sketch.dimension + 1)
    for positions, batch in batcher(rows):
        sketch_BD, norm_B = sketch_batch(engine, sketch, batch)
        values[positions] = torch.cat([sketch_BD, norm_B[:, None]], dim=1)
    return values.numpy()


def _keep_principal(files: IndexFiles, step: int, shards: list[Path], config: IndexConfig) -> None:
    parts = [load(shard) for shard in shards]  # mapped: only what is asked for is read
    directions_DR = principal_directions(_sample(parts), config.dimension)
    vectors, norms = zip(*(_project(part, directions_DR) for part in parts), strict=True)
    save(files.vectors(step), np.concatenate(vectors))
    save(files.norms(step), np.concatenate(norms))
    save(files.directions(step), directions_DR.numpy().astype(np.float16))
    for shard in shards:
        shard.unlink()


def _sample(parts: list[Array]) -> Tensor:
    """The sketches of a sample of all training examples, [n, D]."""
    positions = sample_positions(sum(map(len, parts))).numpy()
    starts = np.cumsum([0, *map(len, parts)])
    within = [positions[(a <= positions) & (positions < b)] - a for a, b in pairwise(starts)]
    return torch.from_numpy(
        np.concatenate([part[rows, :-1] for part, rows in zip(parts, within, strict=True)])
    )


def _project(part: Array, directions_DR: Tensor) -> tuple[Array, Array]:
    """What the kept directions hold of each unit sketch, [n, r] float16; the sketches' and exact norms, [n, 2] float32.

    What the directions leave out counts in the norm: otherwise cosines would be too large.
    """
    values = torch.from_numpy(np.array(part))
    norm_N = values[:, :-1].norm(dim=1)
    kept_NR = values[:, :-1] @ directions_DR / norm_N.clamp_min(1e-30)[:, None]
    return kept_NR.numpy().astype(np.float16), torch.stack([norm_N, values[:, -1]], 1).numpy()
