"""How well compressed gradients keep exact scores, on a finished study: the table behind the defaults of an index.

python benchmarks/compression.py RESULTS_FOLDER [--train 480] [--tests 32]

For the last checkpoint of the first seed: Spearman correlation with the exact scores, and overlap of the top 10 and
top 100, for cosine and dot product; sign sketches of several sizes and storage types, their principal directions, and
factorised random projections of the linear layers (Choe et al. 2024, LoGra).
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from scipy.stats import spearmanr
from torch import Tensor

from sprachbund.batching import Batcher
from sprachbund.configuration import read_study
from sprachbund.data.corpus import Corpus
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.per_example import OuterGradient, PerExampleGradient
from sprachbund.gradients.scoring import fill_bank, score_batch
from sprachbund.index.gradients import sketch_batch
from sprachbund.index.principal import principal_directions
from sprachbund.index.sketch import SignSketch
from sprachbund.modeling import ModelConfig, encode, load_classifier, load_tokenizer
from sprachbund.runs import Run

_SKETCH = 65_536
_FACTORS = (8, 16, 32)


class Factorised:
    """Random projections of both factors of each linear layer's gradient, k x k numbers a layer."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._maps: dict[tuple[str, int], Tensor] = {}
        self.parts: dict[str, Tensor] = {}

    def take(self, name: str, gradient: PerExampleGradient) -> None:
        if isinstance(gradient, OuterGradient):
            left = gradient.left_BTO @ self._map(name, gradient.shape[0], 0)
            right = gradient.right_BTI @ self._map(name, gradient.shape[1], 1)
            self.parts[name] = torch.bmm(left.transpose(1, 2), right).flatten(1)

    def _map(self, name: str, width: int, side: int) -> Tensor:
        key = name, side
        if key not in self._maps:
            random = torch.Generator().manual_seed(len(self._maps))
            self._maps[key] = torch.randn(width, self._k, generator=random) / self._k**0.5
        return self._maps[key]


def measure(
    label: str,
    numbers: int,
    dot_MN: Tensor,
    test_M: Tensor,
    train_N: Tensor,
    exact: dict[str, Tensor],
) -> None:
    """One row of the table."""
    found = {"cosine": dot_MN / (test_M[:, None] * train_N[None, :]), "dot": dot_MN}
    cells = []
    for similarity, values in found.items():
        truth = exact[similarity]
        rho = sum(float(spearmanr(a, b)[0]) for a, b in zip(values, truth, strict=True)) / len(
            truth
        )
        cells.append(
            f"{similarity}: {rho:.3f} {_overlap(values, truth, 10):.3f} {_overlap(values, truth, 100):.3f}"
        )
    print(f"{label:38} {numbers:7}  " + "   ".join(cells), flush=True)


def _overlap(found: Tensor, truth: Tensor, k: int) -> float:
    pairs = zip(found.topk(k, 1).indices, truth.topk(k, 1).indices, strict=True)
    return sum(len(set(a.tolist()) & set(b.tolist())) / k for a, b in pairs) / len(truth)


def _stored(sketch_ND: Tensor, kind: str) -> Tensor:
    """Unit vectors after storage as this type, times their norms."""
    norm = sketch_ND.norm(dim=1, keepdim=True)
    unit = sketch_ND / norm
    if kind == "bfloat16":
        return unit.bfloat16().to(unit.dtype) * norm
    if kind == "float16":
        return unit.half().to(unit.dtype) * norm
    scale = unit.abs().amax(1, keepdim=True) / 127
    return (unit / scale).round() * scale * norm


def _every(corpus: Corpus, count: int) -> Corpus:
    step = max(1, len(corpus) // count)
    return corpus.take(range(0, step * count, step))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder of a finished study")
    parser.add_argument("--train", type=int, default=480)
    parser.add_argument("--tests", type=int, default=32)
    options = parser.parse_args()
    config = read_study(options.results / "study.yaml")
    run = Run.open(options.results / "runs" / f"seed-{config.finetuning.seeds[0]}")
    path = run.checkpoints[-1].path
    train, test = (
        _every(Corpus.read(options.results / "data" / f"{name}.jsonl"), count)
        for name, count in (("train", options.train), ("test", options.tests))
    )
    tokenizer = load_tokenizer(path)
    length = config.model.max_length
    model = load_classifier(ModelConfig(path=str(path), max_length=length), train.labels, seed=0)
    batcher = Batcher(tokenizer, 2048, 32)

    def batches(corpus: Corpus) -> Iterator[dict[str, Tensor]]:
        return (batch for _, batch in batcher(encode(corpus, tokenizer, length)))

    with GradientEngine(model) as engine:
        filled = fill_bank(engine, batches(test))
        start = time.perf_counter()
        scores = [score_batch(engine, filled.bank, batch) for batch in batches(train)]
        scoring = time.perf_counter() - start
        dot = torch.cat([score.dot_MB for score in scores], dim=1)
        norm = torch.cat([score.norm_B for score in scores])
        exact = {"dot": dot, "cosine": dot / (filled.norm_M[:, None] * norm[None, :])}
        sketch = SignSketch(_SKETCH, 0, engine.device)
        start = time.perf_counter()
        train_ND = torch.cat([sketch_batch(engine, sketch, b)[0] for b in batches(train)]).double()
        sketching = time.perf_counter() - start
        test_MD = torch.cat([sketch_batch(engine, sketch, b)[0] for b in batches(test)]).double()
        print(
            f"N={len(train)} M={len(test)}; exact scores {scoring:.1f} s, sketches of {_SKETCH} {sketching:.1f} s; "
            "rho, top-10 and top-100 overlap"
        )
        for k in _FACTORS:
            projected = []
            for corpus in (test, train):
                rows = []
                for batch in batches(corpus):
                    factorised = Factorised(k)
                    engine.per_example(batch, factorised.take)
                    parts = factorised.parts
                    rows.append(torch.cat([parts[name] for name in sorted(parts)], dim=1))
                projected.append(torch.cat(rows).double())
            a, b = projected
            measure(
                f"factorised random {k} x {k}",
                a.shape[1],
                a @ b.T,
                a.norm(dim=1),
                b.norm(dim=1),
                exact,
            )
    for numbers in (1024, 4096, 16_384, 65_536):
        # A sketch of fewer numbers is the larger one folded.
        a, b = (values.view(len(values), -1, numbers).sum(1) for values in (test_MD, train_ND))
        measure("sign sketch", numbers, a @ b.T, a.norm(dim=1), b.norm(dim=1), exact)
        for kind in ("float16", "bfloat16", "int8"):
            stored = _stored(b, kind)
            measure(f"  kept as {kind}", numbers, a @ stored.T, a.norm(dim=1), b.norm(dim=1), exact)
        if numbers >= 16_384:
            for kept in (64, 128, 256, 512):
                directions = principal_directions(b.float(), kept).double()
                dot_kept = (a @ directions) @ (b @ directions).T
                label = f"  its principal {directions.shape[1]} directions"
                measure(label, kept, dot_kept, a.norm(dim=1), b.norm(dim=1), exact)


if __name__ == "__main__":
    main()
