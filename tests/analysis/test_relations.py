"""The Mantel test against brute force over all permutations, and simulations without effect."""

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy.stats import kstest, spearmanr

from sprachbund.analysis.relations import mantel, relations
from sprachbund.errors import InfluenceError

NAMES = ["en", "de", "fr", "ru", "zh", "ko", "sw", "ar"]


def distance(values: np.ndarray, names: list[str]) -> xr.DataArray:
    symmetric = np.triu(values, 1) + np.triu(values, 1).T
    coords = {"language": names, "other_language": names}
    return xr.DataArray(symmetric, dims=("language", "other_language"), coords=coords)


def matrix(values: np.ndarray, tests: list[str], trains: list[str]) -> xr.DataArray:
    coords = {"test_language": tests, "train_language": trains}
    return xr.DataArray(values, dims=("test_language", "train_language"), coords=coords)


def every_correlation(
    influence: xr.DataArray, between: xr.DataArray, roles: list[list[str]]
) -> list[float]:
    """Spearman over the pairs of different languages, for each way to exchange names in a role."""
    found = []
    for choice in itertools.product(*(itertools.permutations(role) for role in roles)):
        new = {
            name: other
            for role, permuted in zip(roles, choice, strict=True)
            for name, other in zip(role, permuted, strict=True)
        }
        pairs = [
            (float(influence.sel(test_language=t, train_language=r)),
             float(between.sel(language=new[t], other_language=new[r])))
            for t in influence["test_language"].values.tolist()
            for r in influence["train_language"].values.tolist()
            if t != r
        ]  # fmt: skip
        found.append(float(spearmanr(*zip(*pairs, strict=True)).statistic))
    return found


@pytest.mark.parametrize(
    ("tests", "trains", "roles"),
    [
        (NAMES[:5], NAMES[:5], [NAMES[:5]]),
        ([*NAMES[:3], "ko", "sw"], NAMES[:3], [NAMES[:3], ["ko", "sw"]]),
        (["ko", "en", "de"], ["ru", "de", "en", "zh"], [["en", "de"], ["ko"], ["ru", "zh"]]),
    ],
    ids=["square: 120 permutations", "zero-shot rows", "languages trained on but not tested"],
)
def test_the_test_is_that_of_all_permutations(
    tests: list[str], trains: list[str], roles: list[list[str]]
) -> None:
    rng = np.random.default_rng(len(tests) + len(trains))
    # Rounded, so that there are ties.
    influence = matrix(rng.normal(size=(len(tests), len(trains))).round(1), tests, trains)
    between = distance(rng.random((8, 8)).round(1), NAMES)
    null = np.array(every_correlation(influence, between, roles))
    found = mantel(influence, between)
    assert bool(found["exact"])
    assert int(found["n_permutations"]) == len(null)
    assert float(found["spearman"]) == pytest.approx(null[0])
    assert float(found["null_mean"]) == pytest.approx(null.mean(), abs=1e-12)
    as_far = np.abs(null - null.mean()) >= abs(null[0] - null.mean()) - 1e-10
    assert float(found["p_value"]) == pytest.approx(as_far.mean())
    assert float(found["null_low"]) == pytest.approx(np.quantile(null, 0.025), abs=1e-12)
    assert int(found["n_pairs"]) == sum(t != r for t in tests for r in trains)


def test_drawn_permutations_come_near_to_all_of_them() -> None:
    rng = np.random.default_rng(3)
    names = NAMES[:6]
    influence = matrix(rng.normal(size=(6, 6)), names, names)
    between = distance(rng.random((6, 6)), names)
    all_of_them, drawn = mantel(influence, between), mantel(influence, between, 700)
    assert not bool(drawn["exact"])
    assert float(drawn["p_value"]) == pytest.approx(float(all_of_them["p_value"]), abs=0.08)
    xr.testing.assert_identical(drawn, mantel(influence, between, 700))


def test_p_values_are_uniform_where_distance_does_not_matter() -> None:
    """Rows and columns have effects of their own, as languages do, and zero-shot rows are higher."""
    rng = np.random.default_rng(0)
    tests, trains = NAMES[:7], NAMES[:4]
    p_values = []
    for _ in range(400):
        values = rng.normal(size=(7, 4)) + 2 * rng.normal(size=(7, 1)) + 2 * rng.normal(size=4)
        values[4:] += 5
        places = rng.normal(size=(8, 2))
        places[4:] += 4  # zero-shot languages are also farther away
        between = np.linalg.norm(places[:, None] - places, axis=2)
        p_values.append(
            float(mantel(matrix(values, tests, trains), distance(between, NAMES))["p_value"])
        )
    p = np.array(p_values)
    assert 0.02 < (p <= 0.05).mean() < 0.09, "of 400 simulations, 5 percent are due"
    assert kstest(p, "uniform").pvalue > 0.001, (
        "p-values must be uniform, up to their steps of 1/144"
    )


def test_a_planted_relation_is_found_in_its_direction() -> None:
    rng = np.random.default_rng(1)
    between = distance(rng.random((8, 8)), NAMES)
    values = -between.values + 0.1 * rng.normal(size=(8, 8))
    values[np.arange(8), np.arange(8)] = 1000.0  # a language with itself must not count
    found = mantel(matrix(values, NAMES, NAMES), between)
    assert float(found["spearman"]) < -0.8
    assert float(found["p_value"]) < 0.01


def test_the_order_of_languages_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    names = NAMES[:5]
    influence = matrix(rng.normal(size=(5, 5)), names, names)
    between = distance(rng.random((5, 5)), names)
    turned = mantel(influence[::-1].isel(train_language=[2, 0, 1, 4, 3]), between[::-1])
    for name in ("spearman", "p_value", "null_mean"):
        assert float(turned[name]) == pytest.approx(float(mantel(influence, between)[name]))


def test_languages_without_distances_are_left_out_by_name() -> None:
    rng = np.random.default_rng(4)
    names = NAMES[:5]
    influence = matrix(rng.normal(size=(5, 5)), names, names)
    between = distance(rng.random((4, 4)), NAMES[:4])
    found = mantel(influence, between)
    assert found.attrs["left_out"] == ("zh",)
    small = influence.isel(test_language=slice(4), train_language=slice(4))
    assert float(found["p_value"]) == float(mantel(small, between)["p_value"])


def test_what_cannot_be_tested_says_why() -> None:
    names = NAMES[:3]
    influence = matrix(np.arange(9.0).reshape(3, 3), names, names)
    between = distance(np.arange(9.0).reshape(3, 3), names)
    with pytest.raises(InfluenceError, match="the distance is the same, 2, for every pair"):
        mantel(influence, between * 0 + 2)
    with pytest.raises(InfluenceError, match="at least three"):
        mantel(influence, between[:2, :2])
    gap = between.where((between["language"] != "en") | (between["other_language"] != "de"))
    with pytest.raises(InfluenceError, match="the distance between en and de is not known"):
        mantel(influence, gap)
    uneven = between + xr.zeros_like(between).where(between["language"] != "fr", 1.0)
    with pytest.raises(InfluenceError, match="from en to fr is 2, back 3; expected the same"):
        mantel(influence, uneven)
    one_of_each = matrix(np.ones((1, 2)) * [1, 2], ["ko"], ["en", "de"])
    with pytest.raises(InfluenceError, match="at least three"):
        mantel(one_of_each, between)
    both = xr.Dataset({"typology": between, "script": between * 0})
    found = relations(influence, both)
    assert found["distance"].values.tolist() == ["typology"]
    assert "script: the distance is the same" in found.attrs["left_out"][0]
    with pytest.raises(InfluenceError, match="script: the distance"):
        relations(influence, both[["script"]])
    with pytest.raises(InfluenceError, match="no distances"):
        relations(influence, xr.Dataset())
