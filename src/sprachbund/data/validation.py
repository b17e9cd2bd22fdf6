"""What makes a table of rows a usable corpus; each violation names file, row and field."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from sprachbund.data.languages import normalise, quoted
from sprachbund.errors import DataError

COLUMNS = ("id", "language", "item", "group", "text", "text_pair", "label", "split")
SPLITS = ("train", "test")


class Origin(NamedTuple):
    """Where a row was read: the file, and its 1-based line in it."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}"


def validate(frame: pd.DataFrame, labels: Sequence[str], origins: Sequence[Origin]) -> None:
    """Raise DataError for the first row that is unusable: `frame` has the corpus columns, all of type str."""
    _check_labels(labels)
    _check_values(frame, labels, origins)
    _check_languages(frame, origins)
    _check_unique(frame, origins)


def _check_labels(labels: Sequence[str]) -> None:
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise DataError(f'labels: "{repeated[0]}" stands twice; name each class once')
    if any(not isinstance(label, str) or not label for label in labels):
        raise DataError("labels: an empty label name; give every class a name")


def _check_values(frame: pd.DataFrame, labels: Sequence[str], origins: Sequence[Origin]) -> None:
    checks = (
        ("id", frame["id"] == "", "is empty; give every row an id, or leave the column out"),
        ("text", frame["text"].str.strip() == "", "is empty; remove the row or fill it in"),
        ("label", frame["label"] == "", "is empty; remove the row or label it"),
        ("label", ~frame["label"].isin(list(labels)), f"is not one of {', '.join(labels)}"),
        ("split", ~frame["split"].isin(SPLITS), f"is not one of {', '.join(SPLITS)}"),
    )
    for field, wrong, complaint in checks:
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            value = str(frame[field].iat[row])
            found = f"{quoted(value)} " if value.strip() else ""
            raise DataError(f"{origins[row]}: {field} {found}{complaint}")


def _check_languages(frame: pd.DataFrame, origins: Sequence[Origin]) -> None:
    for tag in frame["language"].unique():
        row = int((frame["language"] == tag).to_numpy().argmax())
        try:
            normal = normalise(tag)
        except DataError as error:
            raise DataError(f"{origins[row]}: {error}") from None
        if normal != tag:
            raise DataError(f'{origins[row]}: language "{tag}" is not normalised; write "{normal}"')


def _check_unique(frame: pd.DataFrame, origins: Sequence[Origin]) -> None:
    # Items first: ids made from them repeat as well, and the item is what the user wrote.
    key = frame["split"] + "\0" + frame["language"] + "\0" + frame["item"]
    again = key.duplicated() & (frame["item"] != "")
    if again.any():
        first, second = _first_pair(key, again)
        item, language = frame["item"].iat[second], frame["language"].iat[second]
        raise DataError(
            f"{origins[second]}: item {quoted(str(item))} has a second row in language {language} (the first is "
            f"{origins[first]}); an item has at most one row in a language"
        )
    again = frame["id"].duplicated()
    if again.any():
        first, second = _first_pair(frame["id"], again)
        raise DataError(
            f"{origins[second]}: id {quoted(str(frame['id'].iat[second]))} stands already in {origins[first]}; "
            "ids must be unique"
        )


def _first_pair(key: pd.Series, again: pd.Series) -> tuple[int, int]:
    second = int(again.to_numpy().argmax())
    return int((key == key.iat[second]).to_numpy().argmax()), second
