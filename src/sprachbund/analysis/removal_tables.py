"""Tables of the removal check: mean drops, paired differences, and the lists behind them."""

import pandas as pd
import xarray as xr

from sprachbund.analysis.captions import seeds_of, tests_of
from sprachbund.analysis.labels import ALL
from sprachbund.analysis.layouts import COUNTS, ESTIMATE, MEAN, STARRED, TESTED_MEAN
from sprachbund.analysis.table import Layout, Table, tidy

_REMOVED_FOR = {
    "language": "examples are removed for all test examples of a language together",
    "example": "examples are removed for each test example by itself",
}
_NOISE = {
    "seeds": "joined with the deviation between seeds, which holds the noise of retraining",
    "draws": "joined with the noise of retraining as the random draws show it",
    "unknown": "without the noise of retraining, which one seed and few random draws do not show",
}
_MEASURES = (
    "predicted_drop: of the probability of the predicted class; label_drop: of that of the label; "
    "flips: percentage of test examples of which another class is predicted"
)


def drop_table(found: xr.Dataset, of: str) -> Table:
    """The table of `mean_drops`."""
    noise = (
        "joined with the deviation between seeds"
        if len(found.attrs["seeds"]) > 1
        else ("without the noise of retraining, for which compare random")
    )
    first = ("measure", "k", "test_language", "criterion")
    return Table(
        "removal_drops",
        _caption(
            "Drop after the removal of k training examples, percentage points",
            found,
            of,
            noise,
            "the drop of random",
        ),
        tidy(found, first, (*ESTIMATE, *COUNTS)),
        Layout(list(first[:-1]), MEAN, "criterion"),
    )


def difference_table(found: xr.Dataset, of: str) -> Table:
    """The table of `differences`."""
    first = ("measure", "k", "test_language", "control")
    what = "Drop by removing what influence names, minus drop by removing the control, percentage points"
    q_values = (
        f" {STARRED}: p and q values from these intervals, Benjamini-Hochberg over controls and k."
    )
    return Table(
        "removal_differences",
        _caption(what, found, of, _NOISE[found.attrs["noise"]], "0") + q_values,
        tidy(found, first, (*ESTIMATE, "p_value", "q_value", *COUNTS)),
        Layout(list(first[:-1]), TESTED_MEAN, "control"),
    )


def listing(name: str, what: str, frame: pd.DataFrame) -> Table:
    """A table of single examples or retrainings, which is not for print."""
    return Table(name, f"{what}; {len(frame):,} rows.", frame)


def _caption(what: str, found: xr.Dataset, of: str, noise: str, chance: str) -> str:
    each = found.sel(test_language=found["test_language"] != ALL)
    ks = ", ".join(str(k) for k in found["k"].values)
    return (
        f"{what} ({_MEASURES}). k = {ks}; {_REMOVED_FOR[of]}. {tests_of(each)}; "
        f"{seeds_of(found.attrs['seeds'])}. In brackets: 95 percent bootstrap-t intervals for other "
        f"test examples, clustered by item and group, {noise}. Chance: {chance}."
    )
