"""The test examples a report shows, each with the training examples that spoke most for and against it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from sprachbund.influence import Influence


@dataclass(frozen=True)
class Ranked:
    """A training example in a test example's list; `note` says which item it repeats, if any."""

    rank: int
    id: str
    language: str
    item: str
    label: str
    text: str
    text_pair: str
    score: float
    is_translation: bool
    note: str


@dataclass(frozen=True)
class Shown:
    """A test example, what the model made of it at the last checkpoint, and its two lists."""

    id: str
    language: str
    item: str
    label: str
    text: str
    text_pair: str
    prediction: str
    probability: float
    proponents: tuple[Ranked, ...]
    opponents: tuple[Ranked, ...]


def choose_examples(influence: Influence, per_language: int) -> list[int]:
    """Positions of the test examples to show: for each language as many labels as possible.

    In the order of the test set, so that parallel data shows the same items in every language.
    """
    dataset = influence.dataset
    languages, labels = dataset["test_language"].values, dataset["test_label"].values
    chosen: list[int] = []
    for language in influence.test_languages:
        positions = np.flatnonzero(languages == language).tolist()
        seen: dict[str, int] = {}
        turn = []
        for position in positions:
            label = str(labels[position])
            turn.append(seen.get(label, 0))
            seen[label] = turn[-1] + 1
        first = sorted(range(len(positions)), key=lambda index: (turn[index], index))
        chosen += sorted(positions[index] for index in first[:per_language])
    return chosen


def shown_examples(influence: Influence, positions: Sequence[int], k: int) -> list[Shown]:
    """The chosen test examples with their k first proponents and opponents by the total."""
    chosen = Influence(influence.dataset.isel(test=list(positions)))
    k = min(k, chosen.dataset.sizes["train"])
    lists = {sign: chosen.top_k(k, sign) for sign in ("proponents", "opponents")}
    train = _columns(chosen.dataset, "train")
    test = _columns(chosen.dataset, "test")
    last = chosen.dataset[["test_prediction", "test_probability"]].isel(checkpoint=-1).load()
    shown = []
    for row in range(len(positions)):
        fields = {name: str(values[row]) for name, values in test.items()}
        shown.append(
            Shown(
                **fields,
                prediction=str(last["test_prediction"].values[row]),
                probability=float(last["test_probability"].values[row]),
                proponents=_ranked(lists["proponents"].isel(test=row), train, fields["item"]),
                opponents=_ranked(lists["opponents"].isel(test=row), train, fields["item"]),
            )
        )
    return shown


def _columns(dataset: xr.Dataset, side: str) -> dict[str, Any]:
    names = ("language", "item", "label", "text", "text_pair")
    return {"id": dataset[side].values} | {n: dataset[f"{side}_{n}"].values for n in names}


def _ranked(top: xr.Dataset, train: dict[str, Any], item: str) -> tuple[Ranked, ...]:
    ranked: list[Ranked] = []
    first: dict[str, int] = {}
    for rank, (index, score) in enumerate(
        zip(top["train_index"].values, top["score"].values, strict=True), start=1
    ):
        fields = {name: str(values[index]) for name, values in train.items()}
        own = fields["item"]
        is_translation = bool(own) and own == item
        note = "same item as the test example" if is_translation else ""
        if own and not is_translation and own in first:
            note = f"same item as no. {first[own]}"
        first.setdefault(own, rank)
        ranked.append(
            Ranked(
                rank=rank, score=float(score), is_translation=is_translation, note=note, **fields
            )
        )
    return tuple(ranked)
