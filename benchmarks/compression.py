"""How well compressed gradients keep exact scores, on a finished study: the table behind the defaults of an index.

python benchmarks/compression.py RESULTS_FOLDER [--train 960] [--tests 32]

For the last checkpoint of the first seed: bytes of a training example, time to compress the training set as a multiple
of a plain forward and backward epoch over it, Spearman correlation with the exact scores, and overlap of the top 10 and
top 100, for cosine and dot product; sign sketches of several sizes and storage types, their principal directions (by
storage type, too), sketches of each parameter by itself, and projections of both factors of the linear layers, random
(Choe et al. 2024, LoGra) or on the principal axes of activations and output gradients.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from agreement import agreement
from finished_study import FinishedStudy
from shapes import plain_epoch
from torch import Tensor

from sprachbund.data.corpus import Corpus
from sprachbund.gradients.batches import Batch
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.per_example import OuterGradient, PerExampleGradient
from sprachbund.index.gradients import sketch_batch
from sprachbund.index.principal import principal_directions
from sprachbund.index.sketch import SignSketch

_SKETCHES = (1024, 4096, 16_384, 65_536)
_KINDS = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
_FACTORS = (8, 16, 32)
_OF_A_PARAMETER = 256

Side = tuple[str, int]
"""A linear layer's weight, and which factor of its gradient: 0 the output gradients, 1 the inputs."""


class Axes(Protocol):
    """What projects a factor."""

    def of(self, side: Side, width: int) -> Tensor: ...


class RandomAxes:
    """k random directions for each factor."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._maps: dict[Side, Tensor] = {}

    def of(self, side: Side, width: int) -> Tensor:
        if side not in self._maps:
            random = torch.Generator().manual_seed(len(self._maps))
            self._maps[side] = torch.randn(width, self._k, generator=random) / self._k**0.5
        return self._maps[side]


class PrincipalAxes:
    """The k directions of each factor that hold most of its squares, over the tokens of some batches."""

    def __init__(self, k: int, engine: GradientEngine, batches: Iterable[Batch]) -> None:
        squares: dict[Side, Tensor] = {}

        def add(name: str, gradient: PerExampleGradient) -> None:
            if isinstance(gradient, OuterGradient):
                for place, factor in enumerate((gradient.left_BTO, gradient.right_BTI)):
                    flat = factor.flatten(0, 1)
                    squares[name, place] = squares.get((name, place), 0.0) + flat.T @ flat

        for batch in batches:
            engine.per_example(batch, add)
        self._maps = {
            side: torch.linalg.eigh(total.double())[1][:, -k:].float()
            for side, total in squares.items()
        }

    def of(self, side: Side, _width: int) -> Tensor:
        return self._maps[side]


class Factorised:
    """Projections of both factors of each linear layer's gradient, k x k numbers a layer."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        self.parts: dict[str, Tensor] = {}

    def take(self, name: str, gradient: PerExampleGradient) -> None:
        if isinstance(gradient, OuterGradient):
            left = gradient.left_BTO @ self._axes.of((name, 0), gradient.shape[0])
            right = gradient.right_BTI @ self._axes.of((name, 1), gradient.shape[1])
            self.parts[name] = torch.bmm(left.transpose(1, 2), right).flatten(1)


@dataclass(frozen=True)
class Exact:
    """The scores that a compression is held against."""

    scores: dict[str, Tensor]

    def measure(
        self, label: str, cost: str, dot_MN: Tensor, test_MD: Tensor, train_ND: Tensor
    ) -> None:
        """One row of the table: what it costs, products of compressed gradients, and the gradients for their norms."""
        norms = test_MD.norm(dim=1)[:, None] * train_ND.norm(dim=1)[None, :]
        found = {"cosine": dot_MN / norms, "dot": dot_MN}
        cells = [
            f"{name}: {agreement(values, self.scores[name])}" for name, values in found.items()
        ]
        print(f"{label:42} {cost:26}  " + "   ".join(cells), flush=True)


def _cost(numbers: int, kind: str, epochs: float | None = None) -> str:
    """Numbers and bytes of an example, and the time to compress the training set, in plain epochs."""
    time_taken = "" if epochs is None else f"{epochs:.2f}x"
    return f"{numbers:>7,} {numbers * _KINDS[kind]:>9,} B {time_taken:>6}"


def _stored(sketch_ND: Tensor, kind: str) -> Tensor:
    """Unit vectors after storage as this type, times their norms."""
    norm = sketch_ND.norm(dim=1, keepdim=True)
    unit = sketch_ND / norm
    if kind in ("float16", "bfloat16", "float32"):
        return unit.to(getattr(torch, kind)).to(unit.dtype) * norm
    scale = unit.abs().amax(1, keepdim=True) / 127
    return (unit / scale).round() * scale * norm


def _sketched(engine: GradientEngine, study: FinishedStudy, numbers: int, corpus: Corpus) -> Tensor:
    """Sketches of a corpus, float64."""
    sketch = SignSketch(numbers, 0, engine.device)
    parts = [sketch_batch(engine, sketch, batch)[0] for batch in study.batches(corpus)]
    return torch.cat(parts).double()


def measure_factorised(
    engine: GradientEngine, study: FinishedStudy, exact: Exact, floor: float
) -> None:
    """Projections of both factors: random, and on principal axes of an eighth of the training batches."""
    for k in _FACTORS:
        some = list(study.batches(study.train))[::8]
        for label, axes in (
            ("random", RandomAxes(k)),
            ("on principal axes", PrincipalAxes(k, engine, some)),
        ):
            a = _factorised(engine, study, study.test, axes)
            start = time.perf_counter()
            b = _factorised(engine, study, study.train, axes)
            epochs = (time.perf_counter() - start) / floor
            cost = _cost(a.shape[1], "float32", epochs)
            exact.measure(f"factorised {label} {k} x {k}", cost, a @ b.T, a, b)


def _factorised(engine: GradientEngine, study: FinishedStudy, corpus: Corpus, axes: Axes) -> Tensor:
    """Projections of a corpus, float64."""
    rows = []
    for batch in study.batches(corpus):
        factorised = Factorised(axes)
        engine.per_example(batch, factorised.take)
        parts = factorised.parts
        rows.append(torch.cat([parts[name] for name in sorted(parts)], dim=1))
    return torch.cat(rows).double()


def measure_sketches(
    engine: GradientEngine, study: FinishedStudy, exact: Exact, floor: float
) -> None:
    """Sketches of several sizes, as they may be stored, and in their principal directions."""
    for numbers in _SKETCHES:
        a = _sketched(engine, study, numbers, study.test)
        start = time.perf_counter()
        b = _sketched(engine, study, numbers, study.train)
        epochs = (time.perf_counter() - start) / floor
        for kind in _KINDS:
            label = "sign sketch" if kind == "float32" else f"  kept as {kind}"
            cost = _cost(numbers, kind, epochs if kind == "float32" else None)
            exact.measure(label, cost, a @ _stored(b, kind).T, a, b)
        if numbers >= 16_384:
            for kept in (64, 128, 256, 512):
                _measure_directions(a, b, kept, exact, floor)


def measure_per_parameter(
    engine: GradientEngine, study: FinishedStudy, exact: Exact, floor: float
) -> None:
    """A sketch of each parameter by itself, one after the other."""
    a = _by_parameter(engine, study, study.test)
    start = time.perf_counter()
    b = _by_parameter(engine, study, study.train)
    cost = _cost(a.shape[1], "float32", (time.perf_counter() - start) / floor)
    exact.measure("sign sketch of each parameter", cost, a @ b.T, a, b)


def _by_parameter(engine: GradientEngine, study: FinishedStudy, corpus: Corpus) -> Tensor:
    """Sketches of each parameter, float64; zeros where a batch does not reach it."""
    sketch = SignSketch(_OF_A_PARAMETER, 0, engine.device)
    rows = []
    for batch in study.batches(corpus):
        size = len(batch["labels"])
        parts = {name: torch.zeros(size, _OF_A_PARAMETER) for name in engine.selection.parameters}
        engine.per_example(batch, lambda name, gradient: sketch.add_to(parts[name], name, gradient))  # noqa: B023
        rows.append(torch.cat(list(parts.values()), dim=1))
    return torch.cat(rows).double()


def _measure_directions(
    test_MD: Tensor, train_ND: Tensor, kept: int, exact: Exact, floor: float
) -> None:
    """Unit sketches in their principal directions, these as float16, as an index keeps them; by storage type."""
    start = time.perf_counter()
    directions = principal_directions(train_ND.float(), kept).half().double()
    norm = train_ND.norm(dim=1, keepdim=True)
    projected = train_ND / norm @ directions
    epochs = (time.perf_counter() - start) / floor
    for kind in _KINDS:
        vectors = _stored(projected, kind)
        dot = (test_MD @ directions) @ (vectors * norm).T
        label = f"  its principal {directions.shape[1]} directions, {kind}"
        cost = _cost(directions.shape[1], kind, epochs if kind == "float32" else None)
        exact.measure(label, cost, dot, test_MD, train_ND)


def main() -> None:
    study = FinishedStudy.of_command_line(__doc__)
    plain = list(study.batches(study.train))
    plain_epoch(study.model, plain[:2])
    start = time.perf_counter()
    plain_epoch(study.model, plain)
    floor = time.perf_counter() - start
    with GradientEngine(study.model) as engine:
        exact = Exact(study.scores(engine, study.fill(engine)))
        print(
            f"N={len(study.train)} M={len(study.test)}, plain epoch {floor:.1f} s; "
            "rho, top-10 and top-100 overlap"
        )
        measure_factorised(engine, study, exact, floor)
        measure_per_parameter(engine, study, exact, floor)
        measure_sketches(engine, study, exact, floor)


if __name__ == "__main__":
    main()
