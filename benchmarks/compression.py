"""How well compressed gradients keep exact scores, on a finished study: the table behind the defaults of an index.

python benchmarks/compression.py RESULTS_FOLDER [--train 480] [--tests 32]

For the last checkpoint of the first seed: Spearman correlation with the exact scores, and overlap of the top 10 and
top 100, for cosine and dot product; sign sketches of several sizes and storage types, their principal directions, and
factorised random projections of the linear layers (Choe et al. 2024, LoGra).
"""

from dataclasses import dataclass

import torch
from agreement import agreement
from finished_study import FinishedStudy
from torch import Tensor

from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.per_example import OuterGradient, PerExampleGradient
from sprachbund.index.gradients import sketch_batch
from sprachbund.index.principal import principal_directions
from sprachbund.index.sketch import SignSketch

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


@dataclass(frozen=True)
class Exact:
    """The scores that a compression is held against."""

    scores: dict[str, Tensor]

    def measure(
        self, label: str, numbers: int, dot_MN: Tensor, test_MD: Tensor, train_ND: Tensor
    ) -> None:
        """One row of the table: products of compressed gradients, and the gradients for their norms."""
        norms = test_MD.norm(dim=1)[:, None] * train_ND.norm(dim=1)[None, :]
        found = {"cosine": dot_MN / norms, "dot": dot_MN}
        cells = [
            f"{name}: {agreement(values, self.scores[name])}" for name, values in found.items()
        ]
        print(f"{label:38} {numbers:7}  " + "   ".join(cells), flush=True)


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


def sketches(engine: GradientEngine, study: FinishedStudy) -> tuple[Tensor, Tensor]:
    """The largest sketches of the test and of the training examples, float64."""
    sketch = SignSketch(_SKETCH, 0, engine.device)
    test_MD, train_ND = (
        torch.cat([sketch_batch(engine, sketch, batch)[0] for batch in study.batches(corpus)])
        for corpus in (study.test, study.train)
    )
    return test_MD.double(), train_ND.double()


def measure_factorised(engine: GradientEngine, study: FinishedStudy, exact: Exact) -> None:
    """Random projections of both factors."""
    for k in _FACTORS:
        projected = []
        for corpus in (study.test, study.train):
            rows = []
            for batch in study.batches(corpus):
                factorised = Factorised(k)
                engine.per_example(batch, factorised.take)
                parts = factorised.parts
                rows.append(torch.cat([parts[name] for name in sorted(parts)], dim=1))
            projected.append(torch.cat(rows).double())
        a, b = projected
        exact.measure(f"factorised random {k} x {k}", a.shape[1], a @ b.T, a, b)


def measure_sketches(test_MD: Tensor, train_ND: Tensor, exact: Exact) -> None:
    """Sketches of several sizes, as they may be stored, and in their principal directions."""
    for numbers in (1024, 4096, 16_384, 65_536):
        # A sketch of fewer numbers is the larger one folded.
        a, b = (values.view(len(values), -1, numbers).sum(1) for values in (test_MD, train_ND))
        exact.measure("sign sketch", numbers, a @ b.T, a, b)
        for kind in ("float16", "bfloat16", "int8"):
            exact.measure(f"  kept as {kind}", numbers, a @ _stored(b, kind).T, a, b)
        if numbers >= 16_384:
            for kept in (64, 128, 256, 512):
                directions = principal_directions(b.float(), kept).double()
                dot_kept = (a @ directions) @ (b @ directions).T
                exact.measure(
                    f"  its principal {directions.shape[1]} directions", kept, dot_kept, a, b
                )


def main() -> None:
    study = FinishedStudy.of_command_line(__doc__)
    with GradientEngine(study.model) as engine:
        exact = Exact(study.scores(engine, study.fill(engine)))
        print(f"N={len(study.train)} M={len(study.test)}; rho, top-10 and top-100 overlap")
        measure_factorised(engine, study, exact)
        test_MD, train_ND = sketches(engine, study)
    measure_sketches(test_MD, train_ND, exact)


if __name__ == "__main__":
    main()
