"""Who is removed: the sets of training examples that each criterion names, before anything is trained."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pandas as pd

from sprachbund.analysis.removal_noise import INFLUENCE, RANDOM
from sprachbund.data.corpus import Corpus
from sprachbund.validation.config import RemovalConfig

RANDOM_SAME = "random-same"
Scores = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Target:
    """Test examples whose predictions are looked at after one removal: a language's, or one alone."""

    name: str
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Removal:
    """A set of training examples to do without, and the test examples that it is to be judged by."""

    seed: int
    criterion: str
    k: int
    draw: int  # from 0; other than 0 for `random` only
    target: Target
    removed: tuple[int, ...]  # positions in the training set, ascending


def targets(test: Corpus, config: RemovalConfig) -> list[Target]:
    """All test examples of each language; or with `of: example` the first few of each, one by one."""
    languages = test.frame["language"].to_numpy()
    rows_of = {name: np.flatnonzero(languages == name).tolist() for name in test.languages}
    if config.of == "language":
        return [Target(name, tuple(rows)) for name, rows in rows_of.items()]
    return [
        Target(str(test.frame["id"].iloc[row]), (row,))
        for rows in rows_of.values()
        for row in rows[: config.examples_per_language]
    ]


def most_retrainings(test: Corpus, config: RemovalConfig) -> int:
    """How many sets `removals` names for all seeds; equal ones are retrained once."""
    criteria = 1 + len([name for name in config.controls if name != RANDOM])  # and influence
    draws = config.random_draws if RANDOM in config.controls else 0
    sets = len(targets(test, config)) * criteria + draws
    return max(len(config.seeds), 1) * len(config.k) * sets


def removals(
    seed: int, scores: Mapping[str, Scores], train: Corpus, test: Corpus, config: RemovalConfig
) -> list[Removal]:
    """What to remove for one run, criterion by criterion.

    `scores` [test, train] of `influence` and of those controls that have scores; for a language,
    they are averaged over its test examples. What is equal is ordered at random, so that no place
    in the training set is preferred.

    `random` is drawn from all training examples, `config.random_draws` times, whatever the target.
    `random-same` has as many of each language and label as the top k by influence, drawn from all
    that have both. Both may hit proponents, as any draw may.
    """
    found = []
    cells = pd.factorize(train.frame["language"] + "\t" + train.frame["label"])[0]
    for target in targets(test, config):
        orders = {
            name: _order(values[list(target.rows)].mean(axis=0), config.seed, target.name)
            for name, values in scores.items()
        }
        for k in config.k:
            chosen = {name: order[:k] for name, order in orders.items()}
            if RANDOM_SAME in config.controls:
                rng = _generator(config.seed, RANDOM_SAME, seed, target.name)
                chosen[RANDOM_SAME] = _same_cells(chosen[INFLUENCE], cells, rng)
            found += [_removal(seed, name, k, 0, target, top) for name, top in chosen.items()]
    if RANDOM in config.controls:
        found += _random(seed, len(train), test, config)
    return found


def _random(seed: int, n_train: int, test: Corpus, config: RemovalConfig) -> Iterator[Removal]:
    rows = [row for target in targets(test, config) for row in target.rows]
    everyone = Target("", tuple(rows))
    for draw in range(config.random_draws):
        order = _generator(config.seed, RANDOM, seed, draw).permutation(n_train)
        for k in config.k:
            yield _removal(seed, RANDOM, k, draw, everyone, order[:k])


def _order(scores_N: Scores, seed: int, name: str) -> Positions:
    """Positions by score, the highest first."""
    ties = _generator(seed, "ties", name).random(len(scores_N))
    return np.lexsort((ties, -scores_N))


def _same_cells(top: Positions, cells: Positions, rng: np.random.Generator) -> Positions:
    """A draw with as many of each cell as `top` has; of a smaller `top`, part of that of a larger."""
    orders = [rng.permutation(np.flatnonzero(cells == cell)) for cell in range(cells.max() + 1)]
    counts = np.bincount(cells[top], minlength=len(orders))
    return np.concatenate([order[:n] for order, n in zip(orders, counts, strict=True)])


def _removal(
    seed: int, criterion: str, k: int, draw: int, target: Target, removed: Positions
) -> Removal:
    return Removal(seed, criterion, k, draw, target, tuple(sorted(removed.tolist())))


def _generator(*names: object) -> np.random.Generator:
    """Random numbers of their own for each purpose, so that no draw depends on what else is drawn."""
    digest = blake2b(json.dumps(names).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest))
