"""How far an accuracy could be off that is known as a fraction of so many examples alone."""

import pandas as pd
from scipy.stats import binomtest


def with_wilson_limits(accuracy: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """The rows, columns `accuracy` (a fraction) and `n`, with `low` and `high` (Wilson 1927), fractions.

    For other examples that are drawn one by one, of the same run: examples that share a premise, say, are fewer than
    they seem, and other seeds are not asked about.
    """
    limits = [
        binomtest(round(fraction * n), int(n)).proportion_ci(level, method="wilson")
        for fraction, n in zip(accuracy["accuracy"], accuracy["n"], strict=True)
    ]
    return accuracy.assign(low=[one.low for one in limits], high=[one.high for one in limits])
