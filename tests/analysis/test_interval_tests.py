"""p-values of intervals, against intervals whose limits are known; their correction against scipy."""

import numpy as np
import xarray as xr
from scipy.stats import false_discovery_control

from sprachbund.analysis.interval_tests import q_values, with_p_values
from sprachbund.analysis.labels import ALL

LANGUAGES = ["en", "de", "ru", ALL]


def wide(level: float) -> xr.Dataset:
    """Intervals of which each excludes 0 up to a level of its own: errors of 0.15, 0.04, 0.0005 and none."""
    mean = np.array([1.0, -1.0, 2.0, np.nan])
    free_until = np.array([0.15, 0.04, 0.0005, np.nan])
    radius = np.abs(mean) * np.where(free_until < 1 - level, 0.5, 2.0)
    coords = {"test_language": LANGUAGES}
    limits = {"mean": mean, "low": mean - radius, "high": mean + radius}
    return xr.Dataset({n: ("test_language", v) for n, v in limits.items()}, coords=coords).where(
        xr.DataArray(~np.isnan(mean), dims="test_language")
    )


def test_p_is_the_least_level_of_error_tried_whose_interval_excludes_zero() -> None:
    found = with_p_values(wide, 0.95)
    assert found["p_value"].values[:3].tolist() == [0.2, 0.05, 0.001]
    assert np.isnan(found["p_value"].values[3])
    assert (found["low"].values[:3] == wide(0.95)["low"].values[:3]).all()


def test_q_is_over_single_languages_and_over_all_of_them_apart() -> None:
    p = np.array([[0.01, 0.2, 0.03, 0.04], [0.5, np.nan, 0.001, 0.001]])
    given = xr.DataArray(p, dims=("k", "test_language"), coords={"test_language": LANGUAGES})
    found = q_values(given)
    assert found.dims == given.dims
    single = p[:, :3][~np.isnan(p[:, :3])]
    assert np.allclose(found.values[:, :3][~np.isnan(p[:, :3])], false_discovery_control(single))
    assert np.isnan(found.values[1, 1])
    assert found.values[:, 3].tolist() == [0.04, 0.002]
