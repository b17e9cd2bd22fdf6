"""Made-up values of single test examples and score matrices, labelled as the analysis has them."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from synthetic_influence import in_memory

LANGUAGES = ["en", "de", "nan"]


def example_values(
    values: np.ndarray,
    dims: Sequence[str],
    *,
    language: Sequence[str] | None = None,
    item: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
) -> xr.DataArray:
    """Values with a dimension `test`: one language and no items or groups unless they are given."""
    n = values.shape[list(dims).index("test")]
    columns = {
        "test_language": language or ["en"] * n,
        "test_item": item or [""] * n,
        "test_group": group or [""] * n,
    }
    coords = {name: ("test", np.array(given, dtype=object)) for name, given in columns.items()}
    return xr.DataArray(values, dims=tuple(dims), coords=coords)


def score_matrix(
    values: np.ndarray, train: Sequence[str], test: Sequence[str], **columns: Sequence[str]
) -> xr.DataArray:
    """Scores [test, train] with the coordinates that `Influence.total()` gives them, in float64."""
    influence = in_memory(values[None], train, test, learning_rates=(0.1,), **columns)
    dataset = influence.dataset.assign_coords(checkpoint=[1])
    return dataset["influence"].isel(checkpoint=0, drop=True)


def partly_parallel(
    seed: int = 0, test: Sequence[str] = ("en", "ko", "de", "en"), n_items: int = 12
) -> xr.DataArray:
    """Scores over partly parallel data: German lacks items 8 and on, one "nan" row has no item."""
    rows = [(language, str(i)) for i in range(n_items) for language in LANGUAGES]
    rows = [row for row in rows if row[0] != "de" or int(row[1]) < 8]
    items = ["" if row == ("nan", "3") else row[1] for row in rows]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))
    train = [rows[n][0] for n in order]
    return score_matrix(
        rng.normal(size=(len(test), len(rows))),
        train,
        test,
        train_item=[items[n] for n in order],
    )
