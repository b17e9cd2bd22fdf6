"""From inner products and norms to the similarity of two gradients."""

import warnings

import torch
from torch import Tensor

from sprachbund.errors import SprachbundWarning

_TINY = 1e-17


def cosine(dot_MN: Tensor, test_norm_M: Tensor, train_norm_N: Tensor) -> Tensor:
    """Gradient cosine [M, N]; 0 for an example whose gradient vanishes. Warns where one does, or nearly."""
    warn_of_vanishing("test", test_norm_M)
    warn_of_vanishing("training", train_norm_N)
    scale_MN = torch.outer(test_norm_M, train_norm_N)
    return torch.where(scale_MN > 0, dot_MN / scale_MN.clamp_min(1e-300), 0.0).clamp(-1.0, 1.0)


def warn_of_vanishing(kind: str, norm: Tensor) -> None:
    """Of examples whose cosines are undefined, or inexact: the norms of their gradients are 0 or nearly."""
    vanishing = int((norm == 0).sum())
    if vanishing:
        warnings.warn(
            f"the gradient of {vanishing} of {len(norm)} {kind} examples is zero: the model fits them "
            "perfectly in this precision. Their cosine is undefined and set to 0; use an earlier checkpoint or "
            "float64 to compare them",
            SprachbundWarning,
            stacklevel=4,
        )
    tiny = int(((norm > 0) & (norm < _TINY)).sum())
    if tiny:
        warnings.warn(
            f"the gradient of {tiny} of {len(norm)} {kind} examples has a norm below {_TINY}: in float32 the "
            "squares of such numbers vanish, and its cosines are inexact; use an earlier checkpoint or float64",
            SprachbundWarning,
            stacklevel=4,
        )
