"""The directions in which training gradients differ: few of them carry nearly all inner products."""

import torch
from torch import Tensor

SAMPLE = 4096
"""Most training examples that the directions are found from, spread evenly over the training set."""


def sample_positions(examples: int) -> Tensor:
    """Positions of the sample in a training set of this size."""
    step = max(1, -(-examples // SAMPLE))
    return torch.arange(0, examples, step)


def principal_directions(sketch_ND: Tensor, dimension: int) -> Tensor:
    """Orthonormal directions [D, r], r at most `dimension`, the most important first.

    Of unit vectors, so that examples with large gradients do not decide alone, and not centred: inner products are
    wanted, not covariances. From the N x N Gram matrix, as N is smaller than D or about as large.
    """
    unit_ND = sketch_ND / sketch_ND.norm(dim=1, keepdim=True).clamp_min(1e-30)
    values, vectors = torch.linalg.eigh((unit_ND @ unit_ND.T).double())
    kept = min(dimension, int((values > 1e-6 * values[-1]).sum()))
    order = torch.arange(len(values) - 1, len(values) - 1 - kept, -1)
    scaled_NR = vectors[:, order] / values[order].sqrt()
    directions_DR: Tensor = unit_ND.T @ scaled_NR.to(unit_ND.dtype)
    return directions_DR
