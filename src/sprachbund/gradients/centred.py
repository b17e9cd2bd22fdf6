"""Inner products and norms of gradients less the mean gradient of their group, from those of the gradients themselves.

With t a test gradient of group a, g a training gradient of group b and m the groups' means over the training examples,
<t - m_a, g - m_b> = <t, g> - <t, m_b> - <m_a, g> + <m_a, m_b>: nothing but inner products is needed, and no gradient
is computed again.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NO_GROUP = -1
"""The group of a test example of which no mean is taken."""

_ROUNDING = 1e-6
"""Of a squared norm: what is left below this part of it is rounding, and counts as nothing."""


@dataclass(frozen=True)
class Uncentred:
    """Inner products of gradients as they are, and the squared norms, all float64.

    `dot_MN` of test with training gradients; `mean_dot_NL` of training gradients with the mean gradient of each group
    of training examples.
    """

    dot_MN: Tensor
    mean_dot_NL: Tensor
    test_squared_norm_M: Tensor
    train_squared_norm_N: Tensor


@dataclass(frozen=True)
class Centred:
    """Inner products [M, N] and norms [M], [N] of the gradients less their group's mean, float64."""

    dot_MN: Tensor
    test_norm_M: Tensor
    train_norm_N: Tensor


def centred(products: Uncentred, test_group_M: Tensor, train_group_N: Tensor) -> Centred:
    """Take the mean gradient of its group off every training gradient and every test gradient.

    Groups are numbered as the columns of `mean_dot_NL`. The gradient of a test example of `NO_GROUP` stays as it is.
    """
    member_NL = torch.nn.functional.one_hot(train_group_N, products.mean_dot_NL.shape[1]).double()
    average_NL = member_NL / member_NL.sum(0)
    test_dot_ML = products.dot_MN @ average_NL
    gram_LL = average_NL.T @ products.mean_dot_NL
    gram_LL = (gram_LL + gram_LL.T) / 2
    has_group_M = test_group_M != NO_GROUP
    test_L, train_L = test_group_M.clamp_min(0), train_group_N

    dot_MN = products.dot_MN - test_dot_ML[:, train_L]
    off_test_MN = products.mean_dot_NL.T[test_L] - gram_LL[test_L][:, train_L]
    dot_MN -= off_test_MN * has_group_M[:, None]

    own_test_M = test_dot_ML.gather(1, test_L[:, None])[:, 0]
    own_train_N = products.mean_dot_NL.gather(1, train_L[:, None])[:, 0]
    mean_L = gram_LL.diag()
    return Centred(
        dot_MN,
        _norm(products.test_squared_norm_M, (2 * own_test_M - mean_L[test_L]) * has_group_M),
        _norm(products.train_squared_norm_N, 2 * own_train_N - mean_L[train_L]),
    )


def _norm(squared: Tensor, taken_off: Tensor) -> Tensor:
    left = squared - taken_off
    return torch.where(left > _ROUNDING * squared, left, 0.0).sqrt()
