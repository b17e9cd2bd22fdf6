"""Which training examples are a test example's top k, where several may score the same.

Equal scores have no order of their own, and the order of the training set is none: it is often
sorted by language, so that the first language would be favoured.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import get_args

import numpy as np
import numpy.typing as npt
import xarray as xr

from sprachbund.analysis.labels import example_coords
from sprachbund.errors import InfluenceError
from sprachbund.influence import Sign

Array = npt.NDArray[np.float64]


def part_in_top(scores: xr.DataArray, k: int | npt.NDArray[np.intp], sign: Sign) -> Array:
    """How far each training example is in each test example's top k: 1, 0, or between.

    Examples that score as the k-th does have equal parts in the places that those before them leave: what a random
    order of theirs would give on average. `k` may differ by test example.

    Returns: [test, train], in 0..1; sums to k over training examples. NaN for a test example of which fewer than k
    scores are numbers.
    Raises: InfluenceError if a k is no whole number, or exceeds the number of training examples.
    """
    keys_MN = _ascending(scores, sign)
    check_ks(np.unique(np.asarray(k)).tolist(), keys_MN.shape[1])
    k_M = np.broadcast_to(np.asarray(k, dtype=np.intp), len(keys_MN))
    sorted_MN = np.partition(keys_MN, np.unique(k_M) - 1, axis=1)
    last_M1 = np.take_along_axis(sorted_MN, k_M[:, None] - 1, axis=1)
    before_MN, equal_MN = keys_MN < last_M1, keys_MN == last_M1
    n_equal_M = equal_MN.sum(axis=1)
    left_M = k_M - before_MN.sum(axis=1)
    part_M = np.where(n_equal_M > 0, left_M / np.maximum(n_equal_M, 1), np.nan)
    return np.where(equal_MN | np.isnan(part_M)[:, None], part_M[:, None], before_MN)


def ranking(
    scores: xr.DataArray, k: int, sign: Sign = "proponents", *, ties: int = 0
) -> xr.DataArray:
    """Positions of each test example's top-k training examples, first the strongest.

    Equal scores are in an order drawn at random from the seed `ties`, always the same one for the same seed. Two
    rankings that are compared need two: in one order, what is equal in both would agree.

    Returns: [test, rank] of int, with the coordinates of the test examples.
    Raises: InfluenceError if k exceeds the number of training examples.
    """
    keys_MN = _ascending(scores, sign)
    check_ks((k,), keys_MN.shape[1])
    rng = np.random.default_rng(ties)
    first_MK = np.empty((len(keys_MN), k), dtype=np.intp)
    for first_K, keys_N in zip(first_MK, keys_MN, strict=True):
        shuffled_N = rng.permutation(len(keys_N))
        order_N = np.argsort(keys_N[shuffled_N], kind="stable")
        first_K[:] = shuffled_N[order_N[:k]]
    return xr.DataArray(
        first_MK, dims=("test", "rank"), coords=example_coords(scores), attrs={"sign": sign}
    )


def check_ks(ks: Sequence[int], n_train: int) -> None:
    """Raise an InfluenceError unless every k can be the top of `n_train` training examples."""
    if not ks:
        raise InfluenceError("no k is given: name how many training examples count as the top")
    for k in ks:
        if not isinstance(k, Integral):
            raise InfluenceError(f"k is {k}; expected a whole number")
        if not 1 <= k <= n_train:
            raise InfluenceError(
                f"k is {k}, but there are {n_train} training examples; k must lie in 1..{n_train}"
            )


def check_sign(sign: str) -> None:
    """Raise an InfluenceError unless `sign` names one of the two directions."""
    if sign not in get_args(Sign):
        raise InfluenceError(f'sign is "{sign}"; it must be "proponents" or "opponents"')


def _ascending(scores: xr.DataArray, sign: Sign) -> npt.NDArray[np.floating]:
    """The scores [test, train], turned so that the strongest is the least."""
    check_sign(sign)
    values: npt.NDArray[np.floating] = scores.transpose("test", "train").values
    return -values if sign == "proponents" else values
