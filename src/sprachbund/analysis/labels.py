"""The languages and coordinates along the dimensions of the arrays that are analysed."""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

ALL = "all"
"""The language of all test examples, where they are one."""
_Labelled = TypeVar("_Labelled", xr.DataArray, xr.Dataset)


def as_one(values: _Labelled) -> _Labelled:
    """The same values, with all test examples in one language."""
    return values.assign_coords(test_language=("test", [ALL] * values.sizes["test"]))


def in_order(languages: npt.NDArray[Any]) -> list[str]:
    """The languages that occur, in order of appearance."""
    return list(dict.fromkeys(languages.tolist()))


def language_codes(train_language: xr.DataArray) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Code of each training example's language [train], and the languages by code."""
    languages = in_order(train_language.values)
    return pd.Index(languages).get_indexer(train_language.values.tolist()), languages


def example_coords(values: xr.DataArray) -> dict[str, xr.DataArray]:
    """The coordinates that lie along `test` alone."""
    return {str(name): c for name, c in values.coords.items() if c.dims == ("test",)}


def language_dims(values: xr.DataArray) -> tuple[str, ...]:
    """The dims of `values` with `test_language` in the place of `test`."""
    return tuple("test_language" if dim == "test" else str(dim) for dim in values.dims)


def language_coords(values: xr.DataArray) -> dict[str, Any]:
    """What is left of the coordinates when test examples are averaged by language."""
    kept = {str(n): c.variable for n, c in values.coords.items() if "test" not in c.dims}
    languages = values["test_language"].values.tolist()
    order = list(dict.fromkeys(languages))
    counts = [languages.count(language) for language in order]
    return {**kept, "test_language": order, "n_test": ("test_language", counts)}
