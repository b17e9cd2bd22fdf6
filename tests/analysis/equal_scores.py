"""The top k where several score the same, by writing out every way to fill the last places."""

from collections.abc import Sequence
from itertools import combinations


def possible_tops(scores: Sequence[float], k: int, sign: str) -> list[tuple[int, ...]]:
    """Each set of k positions that comes first under some order of the equal scores."""
    direction = -1 if sign == "proponents" else 1
    keys = [direction * float(score) for score in scores]
    last = sorted(keys)[k - 1]
    sure = [n for n, key in enumerate(keys) if key < last]
    equal = [n for n, key in enumerate(keys) if key == last]
    return [(*sure, *others) for others in combinations(equal, k - len(sure))]


def mean_count(tops: Sequence[tuple[int, ...]], chosen: Sequence[bool]) -> float:
    """How many of the chosen positions a top holds, in the mean over the possible ones."""
    return sum(sum(bool(chosen[n]) for n in top) for top in tops) / len(tops)
