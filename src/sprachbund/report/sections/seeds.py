"""How far do fine-tuning runs that differ in the seed agree?"""

import pandas as pd

from sprachbund.report.formatting import count, decimal, listing
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import PAIR, Numbers
from sprachbund.report.rows import Row, highest, rows_of
from sprachbund.report.section import Folded, Heading, Reading, Section
from sprachbund.report.tables import Table, estimated, matrix, with_chance

_ID, _TOPIC, _HEADING = "seeds", "Seeds", "How far seeds agree"
_NAMED = 8


def seeds(numbers: Numbers) -> Section:
    """Deviation between seeds, where they disagree in sign, and whether they find the same examples."""
    if len(numbers.data.seeds) < 2:
        text = "There is one seed: nothing here says how much another fine-tuning run would differ."
        return Section(_ID, _TOPIC, _HEADING, [text])
    frame = numbers.proponents
    deviation = frame["seed_standard_deviation"]
    most = highest(frame, deviation)
    table = matrix(
        "Standard deviation between seeds of the share of the proponents, points; “sign” where one "
        "seed lies above chance and another below",
        frame,
        (PAIR[0], PAIR[1]),
        lambda row: decimal(row["seed_standard_deviation"], 1) + " sign" * (not row["signs_agree"]),
        (numbers.test_languages, numbers.train_languages),
        corner="Test language",
    )
    return Section(
        _ID,
        _TOPIC,
        _HEADING,
        findings=[
            f"Between the {len(numbers.data.seeds)} seeds a share differs by "
            f"{decimal(float(deviation.mean()), 1)} points (standard deviation, averaged over the "
            f"language pairs), at most by {decimal(float(deviation.max()), 1)} "
            f"({_pair(most)}).",
            _signs(frame),
        ],
        parts=[
            Folded([table]),
            Reading(
                "The intervals of this page join the deviation between seeds with that between test "
                "examples, except where a table says otherwise. Seeds may agree on the share of a "
                "language and yet rank other examples of it first: the overlap says so."
            ),
            *_overlap(numbers),
        ],
    )


def _signs(frame: pd.DataFrame) -> str:
    disagree = frame[~frame["signs_agree"].astype(bool)]
    pairs = count(len(frame), "language pair")
    if disagree.empty:
        return f"In none of the {pairs} does one seed lie above chance and another below."
    names = [_pair(row) for row in rows_of(disagree.head(_NAMED))]
    more = len(disagree) - len(names)
    names += [f"{more} more"] * (more > 0)
    return (
        f"Seeds disagree on the sign of the effect in {len(disagree):,} of the {pairs}, which are not "
        f"to be read as effects: {listing(names)}."
    )


def _overlap(numbers: Numbers) -> list[Heading | Folded]:
    frame = numbers.table("overlap_between_seeds")
    if frame is None:
        return [
            Heading("Do seeds find the same examples?", numbers.why_not("overlap between seeds"))
        ]
    text = (
        f"Of the top {numbers.data.k:,} proponents from other languages, two seeds share on average a "
        f"Jaccard index of {decimal(float(frame['jaccard'].mean()))} (chance "
        f"{decimal(float(frame['expected_jaccard'].mean()))}, with the same labels "
        f"{decimal(float(frame['expected_jaccard_given_labels'].mean()))}); 1 would be the same examples. The "
        f"rank-biased overlap is {decimal(float(frame['rank_biased_overlap'].mean()))} (chance "
        f"{decimal(float(frame['expected_rank_biased_overlap'].mean()))})."
    )
    named = frame.assign(
        pair=[f"{a} and {b}" for a, b in zip(frame["seed"], frame["other_seed"], strict=True)]
    )
    return [
        Heading("Do seeds find the same examples?", text),
        Folded(
            [_overlap_table(numbers, named, name) for name in ("jaccard", "rank_biased_overlap")]
        ),
    ]


def _overlap_table(numbers: Numbers, frame: pd.DataFrame, name: str) -> Table:
    what = {"jaccard": "Jaccard index", "rank_biased_overlap": "Rank-biased overlap"}[name]
    pairs = list(dict.fromkeys(frame["pair"]))
    table = matrix(
        f"{what} of the top {numbers.data.k:,} proponents from other languages, by pair of seeds"
        + "; chance is the mean over the pairs" * (len(pairs) > 1),
        frame,
        ("test_language", "pair"),
        estimated(2, "", name),
        (numbers.test_languages, pairs),
        corner="Test language",
        label=(language_label, lambda pair: f"Seeds {pair}"),
    )
    expected = frame.groupby("test_language")[f"expected_{name}"].mean()
    levels = expected.reindex(list(numbers.test_languages))
    return with_chance(table, [decimal(level) for level in levels])


def _pair(row: Row) -> str:
    return f"{language_label(row['test_language'])} from {language_label(row['train_language'])}"
