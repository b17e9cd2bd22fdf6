"""Padding that a loss depends on: what of it can be seen in gradients, in every batch and for next to nothing."""

import torch
from torch import Tensor

from sprachbund.gradients.batches import Batch
from sprachbund.gradients.per_example import PerExampleGradient, RowGradient

_SHARE = {torch.float64: 1e-9, torch.float32: 1e-3}
_COARSE_SHARE = 5e-2  # half precision


def padding_of(batch: Batch) -> Tensor | None:
    """Which tokens the attention mask leaves out, [B, T]; None if there are none."""
    mask = batch.get("attention_mask")
    if mask is None or mask.dim() != 2 or bool(mask.all()):
        return None
    return mask == 0


def reached_padding(gradient: PerExampleGradient, padding_BT: Tensor) -> Tensor:
    """Which examples' padding a gradient reaches through this embedding, [B] bool; through another parameter, none.

    A loss without a gradient at its padding does not depend on what stands there. Where there is one it may: a sum
    over all tokens does not, if the padding's embedding is zero.
    """
    reached_B = padding_BT.new_zeros(len(padding_BT))
    if not isinstance(gradient, RowGradient) or gradient.ids_BT.shape != padding_BT.shape:
        return reached_B
    norm_BT: Tensor = torch.linalg.vector_norm(gradient.rows_BTD, dim=2)
    share = _SHARE.get(norm_BT.dtype, _COARSE_SHARE)
    return norm_BT.masked_fill(~padding_BT, 0.0).amax(1) > share * norm_BT.amax(1)
