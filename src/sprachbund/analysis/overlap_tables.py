"""Tables of how far runs rely on the same training examples: the seeds of a study, and two studies."""

from itertools import combinations

import pandas as pd
import xarray as xr

from sprachbund.analysis.answers import Runs
from sprachbund.analysis.captions import caption
from sprachbund.analysis.layouts import COUNTS
from sprachbund.analysis.overlap import overlap, overlap_by_language, overlap_over_seeds
from sprachbund.analysis.table import Cell, Layout, Table
from sprachbund.errors import InfluenceError

Found = dict[tuple[int, ...], xr.Dataset]
"""By the seeds of the runs that were compared; none where all are joined."""
_MEASURES = ("jaccard", "rank_biased_overlap")
_AROUND = (("", ""), ("", "_low"), ("", "_high"), ("expected_", ""))
_GIVEN_LABELS = "expected_jaccard_given_labels"


def overlap_between_seeds_tables(runs: Runs, k: int) -> list[Table]:
    if len(runs) < 2:
        raise InfluenceError("there is one run; two seeds or more are needed")
    pairs: Found = {
        (one, other): overlap_by_language(overlap(runs[one], runs[other], k))
        for one, other in combinations(sorted(runs), 2)
    }
    what = f"Overlap between seeds of the top {k} proponents from other languages"
    return [_table("overlap_between_seeds", what, runs, pairs, ("seed", "other_seed"))]


def overlap_with_other_study_tables(runs: Runs, k: int, other: Runs, name: str) -> list[Table]:
    """Over the seeds that both studies have, each with its counterpart."""
    if not other:
        raise InfluenceError(
            f'the study "{name}" that analysis.compare_with names has no influence results yet (or is elsewhere); run '
            "it, then `sprachbund analyse` again"
        )
    if not (seeds := sorted(set(runs) & set(other))):
        raise InfluenceError(
            f'the study "{name}" that analysis.compare_with names has none of these seeds'
        )
    joined = overlap_over_seeds({seed: overlap(runs[seed], other[seed], k) for seed in seeds})
    what = (
        f"Overlap with the study {name} of the top {k} proponents from other languages, among the "
        "training examples that both have"
    )
    compared = {seed: runs[seed] for seed in seeds}
    return [_table("overlap_with_other_study", what, compared, {(): joined}, ())]


def _table(
    name: str,
    what: str,
    runs: Runs,
    found: Found,
    seeds: tuple[str, ...],
) -> Table:
    parts = [
        one.to_dataframe().reset_index().assign(**dict(zip(seeds, pair, strict=True)))
        for pair, one in found.items()
    ]
    columns = [f"{prefix}{measure}{end}" for measure in _MEASURES for prefix, end in _AROUND]
    cells = {
        measure.replace("_", " "): Cell(measure, f"{measure}_low", f"{measure}_high", 2)
        for measure in _MEASURES
    }
    chance = {
        "chance of jaccard": Cell("expected_jaccard", digits=2),
        "chance given labels": Cell(_GIVEN_LABELS, digits=2),
        "chance of rank biased overlap": Cell("expected_rank_biased_overlap", digits=2),
    }
    first = [*seeds, "test_language"]
    last = ["n_candidates", *([] if seeds else ["seed_standard_deviation"]), *COUNTS]
    frame = pd.concat(parts)[[*first, *columns, _GIVEN_LABELS, *last]]
    text = caption(
        what,
        next(iter(found.values())),
        runs,
        "two random rankings; given labels, two whose tops have the labels that the runs' tops have",
    )
    return Table(name, text, frame, Layout(first, cells | chance))
