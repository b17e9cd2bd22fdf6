"""The engine's proof on a real batch: gradients against autograd, losses against the same example alone."""

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sprachbund.errors import GradientError
from sprachbund.gradients.batches import Batch, batch_size, example_alone
from sprachbund.gradients.losses import Loss, TaskLoss, check_losses
from sprachbund.gradients.padding import padding_of
from sprachbund.gradients.per_example import PerExampleGradient

_RELATIVE_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
# Many models compute their norms in float32 whatever their weights are.
_LOSS_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
_TF32_LOSS_TOLERANCE = 1e-3  # a GPU may round one shape of a product and not another
_COARSE_TOLERANCE = 5e-2  # half precision
_LENGTHS = 8
_OWN_LOSS_TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-5}
_HALF = 1e-2


def precision_of(model: nn.Module) -> torch.dtype:
    """The coarsest floating type among the weights: what goes through them is no finer, be the others as they may."""
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return max(kinds, key=lambda kind: torch.finfo(kind).eps)


@contextmanager
def unrounded() -> Iterator[None]:
    """Products of float32 matrices in float32, where a GPU may else round what goes in to ten bits (TF32).

    What a rule gets wrong could not be told from that: in a model of twelve layers it comes to a thousandth.
    """
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    products.fp32_precision = "ieee"
    try:
        yield
    finally:
        products.fp32_precision = before


def random_weights(size: int, device: torch.device) -> Tensor:
    """One weight an example, all different: with equal weights swapped examples would go unseen."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(size, generator=generator, dtype=torch.float64) + 0.5).to(device)


def few_of(batch: Batch, *, last_first: bool = False) -> dict[str, Tensor]:
    """The `few_positions` of the batch.

    `last_first`: in the other order. A model that sorts its batch, by length or by language, leaves one of the two as
    it is: only the other shows whether it gives each example its own gradient.

    The longest comes first: rows by position that examples share (UMT5's biases), read as if they were the examples',
    would else go to the right ones where only their last tokens matter.
    What is wrong with a rule is wrong with two examples, too; but alone no gradient can be given to the wrong example,
    and what is symmetric in two copies goes unseen: proven so, it is to be proven again.
    """
    positions = few_positions(batch)
    return _chosen(batch, positions[::-1] if last_first else positions)


def few_positions(batch: Batch) -> list[int]:
    """The longest and the shortest example of the batch, so that one is padded if any is; its only one twice."""
    if padding_of(batch) is not None:
        length_B = batch["attention_mask"].sum(1)
        if int(length_B.min()) < int(length_B.max()):  # else both would be the same example
            return [int(length_B.argmax()), int(length_B.argmin())]
    return [0, batch_size(batch) - 1]


def positions_by_length(batch: Batch) -> list[int]:
    """Examples of up to eight different lengths, the longest and the shortest among them; without padding, a few.

    What padding does may go by the length: a model that reduces four characters to one hides what follows eight.
    """
    if padding_of(batch) is None:
        return few_positions(batch)
    length_B = batch["attention_mask"].sum(1)
    lengths: Tensor = length_B.unique()  # type: ignore[no-untyped-call]
    if len(lengths) == 1:
        return few_positions(batch)
    steps = torch.linspace(len(lengths) - 1, 0, min(_LENGTHS, len(lengths))).round().long()
    chosen = lengths[steps.to(lengths.device)]
    return [int((length_B == length).nonzero()[0]) for length in chosen]


def _chosen(batch: Batch, positions: Sequence[int]) -> dict[str, Tensor]:
    size = batch_size(batch)
    return {
        name: value[list(positions)] if value.shape[:1] == (size,) else value
        for name, value in batch.items()
    }


class Comparison:
    """What is left of autograd's gradients of a weighted sum of losses when the per-example ones are taken away.

    Each of the `passes` is compared by itself: the errors of two orders of the same examples may cancel.

    The error is measured against the parameter's own norm, but not below a thousandth of the whole gradient's (that of
    other passes, and of what is differentiated otherwise, included): attention key biases, for one, have zero gradient
    in theory and rounding noise of the other activations in practice. What may pass so, in float32, is a millionth of
    the gradient, and moves no score by more than that.
    """

    def __init__(
        self, whole: dict[str, Tensor], compared: Set[str], precision: torch.dtype, passes: int
    ) -> None:
        self._tolerance = _RELATIVE_TOLERANCE.get(precision, _COARSE_TOLERANCE)
        self._expected = {name: whole[name] for name in compared}
        self._missing, self._passes = set(compared), passes
        self._norm = {name: _norm(value) for name, value in whole.items()}
        self._floor = 1e-3 * sum(norm**2 for norm in self._norm.values()) ** 0.5
        self.unnoticed = self._tolerance * self._floor
        """A gradient of no larger norm would pass whatever a rule made of it: it proves nothing."""
        self.found: set[str] = set()
        self.wrong: set[str] = set()

    def take_away(self, weight_B: Tensor, name: str, gradient: PerExampleGradient) -> None:
        """One parameter in one pass, by the weight of each of its examples; after the last pass it is freed."""
        is_last = self._passes == 1
        left = self._expected.pop(name) if is_last else self._expected[name].clone()
        gradient.subtract_from(left, weight_B.to(left.dtype))
        self._missing.discard(name)
        if self._norm[name] > self.unnoticed:
            self.found.add(name)
        self._judge(name, left)

    def finish_pass(self) -> None:
        """Parameters that no gradient came for must have none."""
        for name in self._missing:
            self._judge(name, self._expected[name])
        self._missing, self._passes = set(self._expected), self._passes - 1

    def _judge(self, name: str, left: Tensor) -> None:
        if not _norm(left) <= self._tolerance * max(self._norm[name], self._floor):
            self.wrong.add(name)


def _norm(value: Tensor) -> float:
    rows = value.reshape(-1, value.shape[-1] if value.dim() else 1)
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return float(torch.linalg.vector_norm(norms.double()))


class LossesAlone:
    """The losses that the examples of a batch have alone, each [1], computed when first asked for.

    And those that the model itself computes of each, where the loss is the default one.
    """

    def __init__(self, model: nn.Module, loss: Loss, batch: Batch) -> None:
        self.model, self.loss, self.batch = model, loss, batch
        self._found: dict[int, Tensor] = {}
        self._own: dict[int, Tensor] = {}

    @property
    def known(self) -> list[int]:
        """Positions of the examples that were asked for."""
        return list(self._found)

    def __getitem__(self, position: int) -> Tensor:
        if position not in self._found:
            with torch.no_grad():
                found, own = self._computed(example_alone(self.model, self.batch, position))
            check_losses(found, 1)
            # It may be a view of much, or of what the loss writes to again.
            self._found[position] = found.clone()
            if own is not None:
                self._own[position] = own.clone()
        return self._found[position]

    def own(self, position: int) -> Tensor | None:
        """What the model itself computes of this example, []; None if it does not."""
        self[position]
        return self._own.get(position)

    def _computed(self, example: Batch) -> tuple[Tensor, Tensor | None]:
        if type(self.loss) is TaskLoss:
            return self.loss.with_own(self.model, example)
        return self.loss(self.model, example), None

    def compare(self, together_L: Tensor, positions: Sequence[int], size: int) -> None:
        """With the losses of the examples at these positions in a batch of this `size`.

        Raises: GradientError if an example's loss changes with the examples or padding around it.
        """
        if positions:
            alone = torch.cat([self[position] for position in positions])
            compare_losses(self.model, alone, together_L, size)


def shows_with_gradients(batch: Batch) -> bool:
    """Whether the pass that proves the gradients of the `few_positions` has all losses that are to be compared.

    Where products are rounded (TF32) it has others: in that pass they are not.
    """
    return not _is_rounding() and positions_by_length(batch) == few_positions(batch)


def _is_rounding() -> bool:
    return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")


def prove_batch_independence(alone: LossesAlone) -> None:
    """Compare the losses that examples of different lengths have as a batch with those of each alone.

    Raises: GradientError if an example's loss changes with the examples or padding around it.
    """
    if shows_with_gradients(alone.batch):
        return
    positions = positions_by_length(alone.batch)
    with torch.no_grad():
        together = alone.loss(alone.model, _chosen(alone.batch, positions)).clone()
    check_losses(together, len(positions))
    alone.compare(together, positions, len(positions))


def compare_losses(model: nn.Module, alone_L: Tensor, together_L: Tensor, size: int) -> None:
    """Of some examples, each alone, and in their batch of this `size`.

    Raises: GradientError as `prove_batch_independence`.
    """
    tolerance = _loss_tolerance(model)
    for expected, found in zip(alone_L.tolist(), together_L.tolist(), strict=True):
        if not abs(found - expected) <= tolerance * max(abs(expected), 1e-2):
            raise GradientError(
                f"the loss of one example is {expected:.6g} alone and {found:.6g} in a batch of "
                f"{size}: padding leaks into the model, its normalisation depends on the batch, "
                "or the loss averages over it. Influence of an example is not defined so"
            )


def _loss_tolerance(model: nn.Module) -> float:
    precision, device = precision_of(model), next(model.parameters()).device
    if precision == torch.float32 and device.type == "cuda":
        return _TF32_LOSS_TOLERANCE if _is_rounding() else _LOSS_TOLERANCE[precision]
    return _LOSS_TOLERANCE.get(precision, _COARSE_TOLERANCE)


def prove_own_loss(alone: LossesAlone, position: int) -> None:
    """Raises: GradientError if the default loss is not the one that the model itself computes.

    Both are of the same example alone, and so equal but for the last digits: an auxiliary loss may be small.
    """
    loss_B, own = alone[position], alone.own(position)
    if own is None:
        return
    found, expected = float(loss_B[0]), float(own)
    tolerance = max(_OWN_LOSS_TOLERANCE.get(kind, _HALF) for kind in (own.dtype, loss_B.dtype))
    if not abs(found - expected) <= tolerance * max(abs(expected), 1e-2):
        raise GradientError(
            f"the model computes the loss {expected:.6g} for an example where the default loss gives "
            f"{found:.6g} (an auxiliary loss of its experts' router, label smoothing?): switch it off in the "
            "model's configuration, or pass loss=, a function (model, batch) -> losses [B]"
        )
