"""Limits of an accuracy against those of another library."""

import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from sprachbund.analysis.wilson import with_wilson_limits


@pytest.mark.parametrize("level", [0.95, 0.99])
def test_limits_are_those_of_statsmodels(level: float) -> None:
    counts = [(0, 7), (3, 10), (99, 150), (150, 150)]
    accuracy = pd.DataFrame(
        {"accuracy": [right / n for right, n in counts], "n": [n for _, n in counts]}
    )
    found = with_wilson_limits(accuracy, level)
    for row, (right, n) in zip(found.itertuples(), counts, strict=True):
        expected = proportion_confint(right, n, alpha=1 - level, method="wilson")
        assert (row.low, row.high) == pytest.approx(expected, abs=1e-12)
