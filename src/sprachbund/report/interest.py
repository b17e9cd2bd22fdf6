"""Which language pairs a section follows that cannot show all: each test language's own, or the strongest."""

import pandas as pd

from sprachbund.report.languages import language_label
from sprachbund.report.numbers import PAIR, Numbers
from sprachbund.report.rows import rows_of


def pairs_of_interest(numbers: Numbers, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the own-language pairs; where no test language was trained on, of the strongest pairs.

    The strongest has the highest lift among the proponents. A column `panel` names the pair.
    """
    if numbers.trained:
        own = frame[frame["test_language"] == frame["train_language"]]
        return own.assign(panel=own["test_language"].map(language_label))
    found = numbers.proponents.reset_index(drop=True)
    lift = found["mean"] / found["expected_percent"]
    strongest = found.loc[lift.groupby(found["test_language"], sort=False).idxmax()]
    pairs = set(zip(*(strongest[name] for name in PAIR), strict=True))
    kept = frame[[(row[PAIR[0]], row[PAIR[1]]) in pairs for row in rows_of(frame)]]
    names = [f"{language_label(row[PAIR[0]])} from {row[PAIR[1]]}" for row in rows_of(kept)]
    return kept.assign(panel=names)


def subject_of(numbers: Numbers) -> str:
    """What the lift of these pairs is called."""
    return "own-language lift" if numbers.trained else "lift of the strongest training language"
