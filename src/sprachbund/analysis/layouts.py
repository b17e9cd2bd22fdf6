"""What the tables have in common: columns, and how an estimate with its interval is set."""

from sprachbund.analysis.answers import Runs
from sprachbund.analysis.measures import KS
from sprachbund.analysis.table import FALSE_DISCOVERY_RATE, Cell

PAIR = ("test_language", "train_language")
COUNTS = ("n_test", "n_clusters")
ESTIMATE = ("mean", "low", "high", "seed_standard_deviation", "signs_agree")
MEAN = {"mean": Cell("mean", "low", "high")}
MEAN_2 = {"mean": Cell("mean", "low", "high", 2)}
TESTED_MEAN = {"mean": Cell("mean", "low", "high", q_value="q_value")}
TESTED_MEAN_2 = {"mean": Cell("mean", "low", "high", 2, "q_value")}
STARRED = f"* where q is at most {FALSE_DISCOVERY_RATE} and no seeds disagree in sign"


def limits_of(*names: str) -> list[str]:
    """The columns of the lower and the upper limit of each estimate, in turn."""
    return [f"{name}_{end}" for name in names for end in ("low", "high")]


def usual_ks(runs: Runs, k: int) -> list[int]:
    """The k that shares are tabled for: this one, and those of `KS` that there are examples for."""
    n_train = next(iter(runs.values())).dataset.sizes["train"]
    return sorted({*(usual for usual in KS if usual <= n_train), k})


def named_ks(runs: Runs, k: int) -> str:
    """ "k = 10, 25, 50", for a caption."""
    return f"k = {', '.join(map(str, usual_ks(runs, k)))}"
