"""The interval of a ratio of two effects: does it hold the truth as often as it says?"""

import numpy as np
import pytest
import xarray as xr

from sprachbund.analysis.remaining import remaining_intervals
from sprachbund.analysis.seeds import combine_seeds, quiet_about_signs

CLUSTERS, SIMULATIONS = 25, 600


def effects(values: np.ndarray) -> xr.DataArray:
    """[control, test, cell] of test examples of one language that are clusters of their own."""
    n_test = values.shape[0]
    none = np.array([""] * n_test, dtype=object)
    return xr.DataArray(
        values[None],
        dims=("control", "test", "train_language"),
        coords={
            "control": ["a"],
            "test": np.arange(n_test),
            "train_language": [f"cell {i}" for i in range(values.shape[1])],
            "test_language": ("test", ["xx"] * n_test),
            "test_group": ("test", none),
            "test_item": ("test", none),
        },
    )


def simulated(runs: int, mean: float, ratio: float, together: float, between: float):
    """The plain effect has this mean, the controlled one `ratio` of it; each cell is a simulation."""
    rng = np.random.default_rng(0)
    of_examples = rng.normal(size=(CLUSTERS, SIMULATIONS))
    controlled, plain = {}, {}
    for run in range(runs):
        noise = 0.5 * rng.normal(size=of_examples.shape) + between * rng.normal(size=SIMULATIONS)
        above = of_examples + noise
        own = rng.normal(size=of_examples.shape)
        plain[run] = effects(mean + above)
        controlled[run] = effects(ratio * mean + together * above + 0.5 * own)
    return controlled, plain


def estimated(controlled, plain) -> tuple[xr.DataArray, xr.DataArray]:
    """The ratio where the plain effect is shown, and where that is."""
    with quiet_about_signs():
        found = combine_seeds(plain, 0.0)
        ratio = combine_seeds(controlled, 0.0)["mean"] / found["mean"]
    shown = (found["low"] > 0) | (found["high"] < 0)
    return ratio.where(shown), shown


@pytest.mark.parametrize(
    ("runs", "mean", "ratio", "together", "between"),
    [(1, 1.0, 0.5, 0.5, 0.0), (1, 3.0, 0.0, 0.3, 0.0), (3, 1.5, 0.8, 0.9, 0.2)],
)
def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_says(
    runs, mean, ratio, together, between
):
    controlled, plain = simulated(runs, mean, ratio, together, between)
    estimate, shown = estimated(controlled, plain)
    assert shown.mean() > 0.9, "else it is the truth of lucky simulations that is asked"
    found = remaining_intervals(controlled, plain, estimate)
    held = ~(found["low"] > ratio) & ~(found["high"] < ratio)
    coverage = 100 * float(held.where(shown).mean())
    assert 93 < coverage < 98, f"95% intervals hold the ratio in {coverage}%"
    inside = (found["low"] <= estimate) & (estimate <= found["high"])
    assert bool(inside.where(found.to_array().notnull().all("variable"), True).all())


def test_an_interval_is_that_of_fieller_where_everything_is_normal():
    """His closed form with Student's t; the bootstrap-t limits come near it with many clusters."""
    rng = np.random.default_rng(3)
    n = 400
    y = 1.0 + rng.normal(size=(n, 1))
    x = 0.4 + 0.6 * (y - 1.0) + 0.5 * rng.normal(size=(n, 1))
    controlled, plain = {0: effects(x)}, {0: effects(y)}
    ratio, _ = estimated(controlled, plain)
    found = remaining_intervals(controlled, plain, ratio)
    (vxx, vxy), (_, vyy) = np.cov(x[:, 0], y[:, 0]) / n
    mx, my, t2 = x.mean(), y.mean(), 1.966**2
    roots = np.roots([my**2 - t2 * vyy, -2 * (mx * my - t2 * vxy), mx**2 - t2 * vxx])
    assert float(found["low"].squeeze()) == pytest.approx(min(roots), abs=0.01)
    assert float(found["high"].squeeze()) == pytest.approx(max(roots), abs=0.01)


def test_what_is_not_asked_or_without_limit_has_none():
    rng = np.random.default_rng(1)
    y = effects(np.c_[3 + rng.normal(size=(20, 2)), 0.01 + rng.normal(size=(20, 1))])
    plain = {0: y}
    ratio, shown = estimated(plain, plain)
    assert shown.values.ravel().tolist() == [True, True, False]
    unasked = ratio.where(ratio["train_language"] != "cell 1")
    found = remaining_intervals(plain, plain, unasked)
    np.testing.assert_allclose(found["low"].values.ravel()[:1], 1.0, atol=1e-3)
    np.testing.assert_allclose(found["high"].values.ravel()[:1], 1.0, atol=1e-3)
    assert np.isnan(found["low"].values.ravel()[1:]).all()
    asked_in_vain = ratio.copy(data=np.ones(ratio.shape))
    doubled = {0: 2 * y + effects(rng.normal(size=(20, 3)))}
    vain = remaining_intervals(doubled, plain, asked_in_vain).isel(train_language=2)
    assert np.isnan(vain["low"].values).all(), "the plain effect may be 0"
    assert np.isnan(vain["high"].values).all()
