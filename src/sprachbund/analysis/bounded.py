"""What is known of a mean of bounded values, whatever their distribution."""

import math

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr

Array = npt.NDArray[np.float64]
_HALVINGS = 60


def hoeffding_limits(mean: Array, n: Array, level: float = 0.95) -> tuple[Array, Array]:
    """Limits of the expectation of n independent values from 0 to 1 whose mean is `mean`.

    Hoeffding (1963), Theorem 1: a mean of m or less has at most the probability exp(-n KL(m, p))
    where p is expected, KL the relative entropy of two coin tosses; the limits are the p where that
    is (1 - level) / 2. For a weighted mean n is 1 / the largest weight: a weighted sum's moment
    generating function is bounded as that of so many equal parts. Wide, but never too short; for n
    zeros the upper limit is exactly that of Clopper and Pearson (1934).

    Returns: lower and upper limit, with the shape of the arrays; NaN where an argument is.
    """
    allowed = math.log(2 / (1 - level)) / n
    upper = _farthest(mean, allowed)
    lower = 1.0 - _farthest(1.0 - mean, allowed)
    return lower, upper


def _farthest(mean: Array, allowed: Array) -> Array:
    """The greatest p from `mean` to 1 with KL(mean, p) <= allowed, by bisection."""
    near, far = mean.copy(), np.ones_like(mean)
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        within = rel_entr(mean, middle) + rel_entr(1 - mean, 1 - middle) <= allowed
        near, far = np.where(within, middle, near), np.where(within, far, middle)
    result: Array = np.where(np.isnan(mean) | np.isnan(allowed), np.nan, far)
    return result
