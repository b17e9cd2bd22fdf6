"""The engine's proof on real batches: gradients against autograd, losses against the same example alone."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sprachbund.errors import GradientError
from sprachbund.gradients.losses import (
    Batch,
    Loss,
    batch_size,
    check_losses,
    slice_batch,
    task_loss,
)

_RELATIVE_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
_COARSE_TOLERANCE = 5e-2  # half precision


def random_weights(size: int, device: torch.device) -> Tensor:
    """One weight an example, all different: with equal weights swapped examples would go unseen."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(size, generator=generator, dtype=torch.float64) + 0.5).to(device)


def disagreements(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> set[str]:
    """Names of the parameters whose gradients differ by more than rounding.

    The error is measured against the parameter's own norm, but not below a thousandth of the whole gradient's:
    attention key biases, for one, have zero gradient in theory and rounding noise of the other activations in practice.
    What may pass so, in float32, is a millionth of the gradient, and moves no score by more than that.
    """
    total = float(sum(value.double().square().sum() for value in expected.values())) ** 0.5
    wrong = set()
    for name, value in expected.items():
        tolerance = _RELATIVE_TOLERANCE.get(value.dtype, _COARSE_TOLERANCE)
        difference = value if name not in found else found[name].reshape(value.shape) - value
        scale = max(float(value.double().norm()), 1e-3 * total)
        if not float(difference.double().norm()) <= tolerance * scale:
            wrong.add(name)
    return wrong


def prove_batch_independence(model: nn.Module, loss: Loss, batch: Batch) -> None:
    """Raises: GradientError if an example's loss changes with the examples or padding around it."""
    size = batch_size(batch)
    with torch.no_grad():
        together = loss(model, batch)
        check_losses(together, size)
        for position in sorted({0, size // 2, size - 1}):
            alone = loss(model, _without_padding(slice_batch(batch, position, position + 1)))
            check_losses(alone, 1)
            expected, found = float(alone[0]), float(together[position])
            tolerance = _RELATIVE_TOLERANCE.get(together.dtype, _COARSE_TOLERANCE)
            if not abs(found - expected) <= tolerance * max(abs(expected), 1e-2):
                raise GradientError(
                    f"the loss of one example is {expected:.6g} alone and {found:.6g} in a batch of "
                    f"{size}: padding leaks into the model, its normalisation depends on the batch, "
                    "or the loss averages over it. Influence of an example is not defined so"
                )


def _without_padding(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop the columns that the attention mask of this single example leaves out."""
    mask = batch.get("attention_mask")
    if mask is None or mask.dim() != 2 or bool(mask.all()):
        return batch
    kept = mask[0].bool()
    return {
        name: value[:, kept] if value.dim() == 2 and value.shape[1] == len(kept) else value
        for name, value in batch.items()
    }


def prove_own_loss(model: nn.Module, batch: Batch) -> None:
    """Raises: GradientError if the default loss is not the one that the model itself computes."""
    with torch.no_grad():
        alone = slice_batch(batch, 0, 1)
        own = getattr(model(**alone), "loss", None)
        if own is None:
            return
        found, expected = float(task_loss(model, alone)[0]), float(own)
        tolerance = _RELATIVE_TOLERANCE.get(own.dtype, _COARSE_TOLERANCE)
        if not abs(found - expected) <= tolerance * max(abs(expected), 1e-2):
            raise GradientError(
                f"the model computes the loss {expected:.6g} for an example where the default loss gives "
                f"{found:.6g} (an auxiliary loss, label smoothing?): pass loss=, a function "
                "(model, batch) -> losses [B]"
            )
