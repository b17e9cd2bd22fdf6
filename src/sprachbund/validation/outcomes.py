"""What became of each test example after each removal, and what was removed, as tables."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from sprachbund.analysis.removal_noise import INFLUENCE
from sprachbund.data.corpus import Corpus
from sprachbund.validation.selection import Removal

_KEYS = ("seed", "criterion", "k", "draw", "target")


def outcomes(
    asked: Sequence[Removal],
    without: Sequence[pd.DataFrame],
    full: Mapping[int, pd.DataFrame],
    test: Corpus,
) -> pd.DataFrame:
    """One row for each removal and each test example that it is judged by.

    `without` are the probabilities [test id, label] after each removal, `full`, by seed, those of
    the run itself.

    Returns: seed, criterion, k, draw, target, test (id), test_language, test_item, test_group, label;
    `predicted`, the class that the run predicts, and its `probability` (0 to 1) in the run and
    `probability_without`; `label_probability` and `label_probability_without` of the label; and
    `predicted_without`.
    """
    parts = [
        _outcome(removal, full[removal.seed], after, test)
        for removal, after in zip(asked, without, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def _outcome(
    removal: Removal, before: pd.DataFrame, after: pd.DataFrame, test: Corpus
) -> pd.DataFrame:
    rows = list(removal.target.rows)
    frame, labels = test.frame.iloc[rows], np.array(test.labels, dtype=object)
    before_ML, after_ML = before.to_numpy()[rows], after.to_numpy()[rows]
    predicted, label = before_ML.argmax(axis=1), test.label_index[rows]
    columns = {f"test_{name}": frame[name].to_numpy() for name in ("language", "item", "group")}
    return pd.DataFrame(
        {
            **_keys(removal),
            "test": frame["id"].to_numpy(),
            **columns,
            "label": frame["label"].to_numpy(),
            "predicted": labels[predicted],
            "predicted_without": labels[after_ML.argmax(axis=1)],
            "probability": _of_class(before_ML, predicted),
            "probability_without": _of_class(after_ML, predicted),
            "label_probability": _of_class(before_ML, label),
            "label_probability_without": _of_class(after_ML, label),
        }
    )


def retrainings_made(
    asked: Sequence[Removal], names: Sequence[str], train: Corpus, test: Corpus
) -> pd.DataFrame:
    """One row for each removal: its retraining's folder, and what the removed have in common.

    Returns: seed, criterion, k, draw, target, retraining; `also_by_influence_percent`, how much of
    the set the influence on the same target removes as well (NaN for `random`, which has no
    target); `same_language_percent` and `same_label_percent`, how much has the language (label) of
    a test example, averaged over the target's.
    """
    proponents = {
        (r.seed, r.k, r.target.name): set(r.removed) for r in asked if r.criterion == INFLUENCE
    }
    rows = []
    for removal, name in zip(asked, names, strict=True):
        of_influence = proponents.get((removal.seed, removal.k, removal.target.name))
        common = np.nan if of_influence is None else len(of_influence & set(removal.removed))
        row = {**_keys(removal), "retraining": name}
        row["also_by_influence_percent"] = 100.0 * common / removal.k
        for column in ("language", "label"):
            row[f"same_{column}_percent"] = _same_percent(removal, train, test, column)
        rows.append(row)
    return pd.DataFrame(rows)


def removed_examples(asked: Sequence[Removal], train: Corpus) -> pd.DataFrame:
    """One row for each training example of each removal: seed, criterion, k, draw, target, train
    (id), train_language, train_label.
    """
    positions = np.concatenate([removal.removed for removal in asked]).astype(int)
    keys = pd.DataFrame([_keys(removal) for removal in asked])
    frame = keys.loc[keys.index.repeat(keys["k"])].reset_index(drop=True)
    removed = train.frame.iloc[positions]
    return frame.assign(
        train=removed["id"].to_numpy(),
        train_language=removed["language"].to_numpy(),
        train_label=removed["label"].to_numpy(),
    )


def _keys(removal: Removal) -> dict[str, object]:
    values = (removal.seed, removal.criterion, removal.k, removal.draw, removal.target.name)
    return dict(zip(_KEYS, values, strict=True))


def _of_class(
    values_ML: npt.NDArray[np.float64], classes_M: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    return np.take_along_axis(values_ML, classes_M[:, None], axis=1)[:, 0]


def _same_percent(removal: Removal, train: Corpus, test: Corpus, column: str) -> float:
    removed = train.frame[column].to_numpy()[list(removal.removed)]
    judged = test.frame[column].to_numpy()[list(removal.target.rows)]
    return float(100.0 * np.equal.outer(judged, removed).mean())
