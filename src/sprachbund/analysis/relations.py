"""Does influence between languages go with how near they are to one another?

A matrix of influence [test language, training language] against distances between languages. The
cells are not independent: each language is in a whole row and column. The Mantel test (Mantel 1967)
therefore exchanges languages, not cells.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.stats import rankdata

from sprachbund.analysis.permutation import benjamini_hochberg
from sprachbund.errors import InfluenceError

Array = npt.NDArray[np.float64]
Order = npt.NDArray[np.intp]
_ROUNDING = 1e-10


def relations(
    matrix: xr.DataArray, distances: xr.Dataset, n_permutations: int = 9999, *, seed: int = 0
) -> xr.Dataset:
    """`mantel` for each of several distances.

    `distances` has variables [language, other_language], as `sprachbund.data.distances` reads them.

    Returns: what `mantel` returns, along `distance`, and `q_value` (Benjamini-Hochberg over the
    distances); attribute `left_out`, a line with the reason for each distance without a test, and
    for each language that a distance lacks.
    Raises: InfluenceError if no distance can be tested.
    """
    found: dict[str, xr.Dataset] = {}
    left_out = []
    for name, distance in distances.data_vars.items():
        try:
            found[str(name)] = mantel(matrix, distance, n_permutations, seed=seed)
        except InfluenceError as error:
            left_out.append(f"{name}: {error}")
        else:
            missing = found[str(name)].attrs["left_out"]
            left_out += [f"{name}: {language} is not known or has no value" for language in missing]
    if not found:
        raise InfluenceError(
            "; ".join(left_out) or "no distances between the languages are given: name a file"
        )
    result = xr.concat(list(found.values()), dim="distance", combine_attrs="drop")
    result = result.assign_coords(distance=list(found))
    q_values = benjamini_hochberg(result["p_value"].values)
    return result.assign(q_value=("distance", q_values)).assign_attrs(left_out=tuple(left_out))


def mantel(
    matrix: xr.DataArray, distance: xr.DataArray, n_permutations: int = 9999, *, seed: int = 0
) -> xr.Dataset:
    """Spearman's correlation of influence with distance, and its test by exchanging languages.

    `matrix` is [test_language, train_language]; the languages need not be the same on both sides.
    `distance` is [language, other_language], symmetric; a language that it lacks is left out (and
    named), as is a test language whose row is NaN. A language with itself is never a cell.

    Rule of permutation: languages exchange their distances with languages of the same role: those
    trained on and tested; those tested only (zero-shot); those trained on only. A zero-shot row
    has no own-language share, so that its cells are higher; exchanged with a trained language's, it
    would pass for an effect of its distance. All permutations are gone through where there are no
    more than `n_permutations` (5 languages: 120); else as many are drawn. The p-value is two-sided,
    by the distance from the mean over all permutations (in closed form), and counts the observed
    order.

    Returns: `spearman`, `null_mean`, `null_low`, `null_high` (95 percent of the permutations),
    `p_value`, `n_pairs`, `n_languages`, `n_permutations` (gone through), `exact`.
    Raises: InfluenceError if fewer than three languages are left, if they cannot be exchanged, if
    influence or distance is the same for all pairs, or if a distance is missing or not symmetric.
    """
    cells = _cells(matrix, distance)
    influence_C = _standard(rankdata(cells.influence_C))
    rank_LL = np.full(cells.distance_LL.shape, np.nan)
    rank_LL[cells.rows, cells.columns] = _standard(rankdata(cells.distance_C))
    count = math.prod(math.factorial(len(role)) for role in cells.roles)
    if count < 2:
        raise InfluenceError("no two languages have the same role, so that none can be exchanged")
    exact = count <= n_permutations
    orders = _all_orders(cells) if exact else _drawn_orders(cells, n_permutations, seed)
    null = np.array([influence_C @ rank_LL[o[cells.rows], o[cells.columns]] for o in orders])
    observed = float(influence_C @ rank_LL[cells.rows, cells.columns])
    mean = float(influence_C @ _mean_over_orders(rank_LL, cells)[cells.rows, cells.columns])
    as_far = int((np.abs(null - mean) >= abs(observed - mean) - _ROUNDING).sum())
    low, high = np.quantile(null, [0.025, 0.975])
    return xr.Dataset(
        {
            "spearman": observed,
            "null_mean": mean,
            "null_low": low,
            "null_high": high,
            "p_value": as_far / count if exact else (1 + as_far) / (1 + len(null)),
            "n_pairs": len(cells.rows),
            "n_languages": len(cells.languages),
            "n_permutations": len(null),
            "exact": exact,
        },
        attrs={"left_out": cells.left_out},
    )


class _Cells(NamedTuple):
    """The pairs of different languages, as positions in `languages`."""

    languages: list[str]
    rows: Order  # [cell], the test language
    columns: Order  # [cell], the training language
    influence_C: Array
    distance_LL: Array
    distance_C: Array
    roles: list[Order]  # which languages may exchange places
    left_out: tuple[str, ...]


def _cells(matrix: xr.DataArray, distance: xr.DataArray) -> _Cells:
    known = _known_languages(distance)
    matrix = matrix.transpose("test_language", "train_language").astype(np.float64)
    matrix = matrix.dropna("test_language", how="all")
    tests, trains = (matrix[d].values.tolist() for d in ("test_language", "train_language"))
    every = list(dict.fromkeys([*trains, *tests]))
    languages = [language for language in every if language in known]
    left_out = tuple(language for language in every if language not in known)
    if len(languages) < 3:
        raise InfluenceError(
            f"distances are known for {len(languages)} of the languages {', '.join(every)}; at "
            "least three are needed"
        )
    pairs = [
        (row, column)
        for row, test in enumerate(languages)
        for column, train in enumerate(languages)
        if test in tests and train in trains and test != train
    ]
    rows, columns = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    distance_LL = distance.sel(language=languages, other_language=languages).values.astype(
        np.float64
    )
    _check_symmetric(distance_LL, languages)
    full = matrix.reindex(test_language=languages, train_language=languages).values
    influence_C, distance_C = full[rows, columns], distance_LL[rows, columns]
    _check_numbers(influence_C, distance_C, [(languages[r], languages[c]) for r, c in pairs])
    role = np.array([(name in tests) + 2 * (name in trains) for name in languages])
    roles = [np.flatnonzero(role == code) for code in np.unique(role)]
    return _Cells(languages, rows, columns, influence_C, distance_LL, distance_C, roles, left_out)


def _known_languages(distance: xr.DataArray) -> set[str]:
    """Those with a distance to some other language."""
    names = distance["language"].values.tolist()
    values = distance.sel(other_language=names).transpose("language", "other_language").values
    others = ~np.eye(len(names), dtype=bool)
    (known,) = np.nonzero((others & ~np.isnan(values.astype(np.float64))).any(axis=1))
    return {names[position] for position in known}


def _check_symmetric(distance_LL: Array, languages: Sequence[str]) -> None:
    uneven = np.abs(distance_LL - distance_LL.T) > _ROUNDING
    if uneven.any():
        one, other = (int(position) for position in np.argwhere(uneven)[0])
        raise InfluenceError(
            f"the distance from {languages[one]} to {languages[other]} is {distance_LL[one, other]:g}, back "
            f"{distance_LL[other, one]:g}; expected the same"
        )


def _check_numbers(influence_C: Array, distance_C: Array, pairs: Sequence[tuple[str, str]]) -> None:
    for name, values in (("influence", influence_C), ("distance", distance_C)):
        if np.isnan(values).any():
            one, other = pairs[int(np.isnan(values).argmax())]
            raise InfluenceError(f"the {name} between {one} and {other} is not known")
        if np.ptp(values) == 0:
            raise InfluenceError(f"the {name} is the same, {values[0]:g}, for every pair")


def _standard(values: Array) -> Array:
    """Centred and of length 1, so that a product of two is a correlation."""
    centred = values - values.mean()
    standard: Array = centred / np.linalg.norm(centred)
    return standard


def _all_orders(cells: _Cells) -> list[Order]:
    choices = itertools.product(*(itertools.permutations(role) for role in cells.roles))
    return [_order(cells, choice) for choice in choices]


def _drawn_orders(cells: _Cells, n: int, seed: int) -> list[Order]:
    rng = np.random.default_rng(seed)
    return [_order(cells, [rng.permutation(role) for role in cells.roles]) for _ in range(n)]


def _order(cells: _Cells, choice: Sequence[Sequence[np.intp] | Order]) -> Order:
    order = np.empty(len(cells.languages), dtype=np.intp)
    for role, permuted in zip(cells.roles, choice, strict=True):
        order[role] = permuted
    return order


def _mean_over_orders(rank_LL: Array, cells: _Cells) -> Array:
    """What each cell holds on average: the mean over the cells of the same two roles."""
    mean_LL = np.full(rank_LL.shape, np.nan)
    for one, other in itertools.product(cells.roles, repeat=2):
        block = rank_LL[np.ix_(one, other)]
        if not np.isnan(block).all():
            mean_LL[np.ix_(one, other)] = np.nanmean(block)
    return mean_LL
