"""Whose examples speak for each language's predictions."""

import altair as alt
import pandas as pd

from sprachbund.analysis.layouts import usual_ks
from sprachbund.analysis.table import differs
from sprachbund.influence import Sign
from sprachbund.report import pooled
from sprachbund.report.formatting import percent
from sprachbund.report.heat_maps import Pairs, heat_map
from sprachbund.report.languages import language_label
from sprachbund.report.line_charts import share_by_k_chart
from sprachbund.report.numbers import Numbers
from sprachbund.report.results import quiet_about_k
from sprachbund.report.rows import Row, estimate_of, estimates_of, highest, rows_of
from sprachbund.report.section import Figure, Folded, Heading, Reading, Section
from sprachbund.report.share_tables import pair_tables, share_table, shares_by_k
from sprachbund.report.verdicts import against_chance, cells_that_differ


def sharing(numbers: Numbers) -> Section:
    """The sharing matrix, its dependence on k, and other measures of the same."""
    k = f"{numbers.data.k:,}"
    frame = numbers.proponents
    return Section(
        id="proponents",
        topic="Sharing",
        heading="Whose examples speak for each language’s predictions",
        findings=[own_language(numbers, "proponents"), cells_that_differ(frame), *_between(frame)],
        parts=[
            Figure("proponents", share_heat_map(numbers, frame, "proponents")),
            Folded([share_table(numbers, frame, f"Share of the top {k} proponents")]),
            Reading(
                "Each row of the heat map is a language of the test examples, each column a language of "
                f"the fine-tuning data. The number is the share of the top {k} proponents, the training "
                "examples that most raise a test example’s fit to its gold label; a row sums to 100%. "
                "The colour is the distance from chance, the language’s part of the training data: "
                "orange above, blue below. The own language is outlined. A dot marks the pairs that "
                "differ from chance. Their intervals are shown on pointing, and in the table."
            ),
            *_by_k(numbers),
            Folded(
                [*shares_by_k(numbers, "proponents"), *pair_tables(numbers, "proponents")],
                "Other measures of the same: share by k, lift, mass, mean influence",
            ),
        ],
    )


def own_language(numbers: Numbers, sign: Sign) -> str:
    """The share in the test example's own language, over all languages trained on."""
    if not numbers.trained:
        return "No test language was trained on, so that there is no own-language share."
    runs, k = numbers.data.influences, numbers.data.k
    (found,) = rows_of(pooled.own_share_by_k(runs, [k], sign))
    n_test = sum(numbers.test_counts[tag] for tag in numbers.trained)
    return (
        f"Over the {n_test:,} test examples in languages trained on, "
        f"{estimate_of(found)} of the top {k:,} {sign} are in the "
        f"test example’s own language (chance {percent(found['chance'])}): "
        f"{against_chance(found['low'], found['high'], found['chance'])}."
    )


def share_heat_map(numbers: Numbers, frame: pd.DataFrame, sign: Sign) -> alt.VConcatChart:
    """The matrix of shares of proponents or opponents; the colours of both mean the same."""
    return heat_map(
        _share_pairs(numbers, frame),
        f"Heat map: percentage of each test language’s top {numbers.data.k:,} {sign} by training language. "
        "The table below has the same numbers.",
        max(_share_pairs(numbers, f).reach for f in (numbers.proponents, numbers.opponents)),
    )


def _share_pairs(numbers: Numbers, frame: pd.DataFrame) -> Pairs:
    """The cells of a heat map of shares, in the order of the page."""
    order = [(test, train) for test in numbers.test_languages for train in numbers.train_languages]
    cells = frame.loc[order].rename(columns={"expected_percent": "chance"})
    return Pairs(
        cells.assign(marked=[differs(row) for row in rows_of(cells)]), numbers.train_languages
    )


def _in_words(row: Row) -> str:
    """What a test language takes from a training language, with interval and chance."""
    return (
        f"{language_label(row['test_language'])} takes "
        f"{estimate_of(row)} of its proponents from "
        f"{language_label(row['train_language'])} (chance {percent(row['expected_percent'])})"
    )


def _between(frame: pd.DataFrame) -> list[str]:
    """The extremes among pairs of two languages that were both trained on, if there are any."""
    trained = frame["test_language"].isin(set(frame["train_language"]))
    others = frame[trained & (frame["test_language"] != frame["train_language"])]
    if others.empty:
        return []
    excess = others["mean"] - others["expected_percent"]
    most, least = highest(others, excess), highest(others, -excess)
    return [
        f"Between two languages trained on, farthest above chance: {_in_words(most)}; farthest "
        f"below: {_in_words(least)}."
    ]


def _by_k(numbers: Numbers) -> list[Heading | Figure]:
    runs, ks = numbers.data.influences, usual_ks(numbers.data.influences, numbers.data.k)
    if not numbers.trained or len(ks) < 2:
        return []
    with quiet_about_k():
        table = pooled.own_share_by_k(runs, ks, "proponents")
    first, *_, last = rows_of(table)
    shown = table.assign(series="Own language", estimate=estimates_of(table))
    text = (
        f"The own-language share is {estimate_of(first)} among the "
        f"top {int(first['k']):,} and {estimate_of(last)} among the "
        f"top {int(last['k']):,} (chance {percent(first['chance'])}). The band is the 95% interval, "
        "the dashed line chance, which any share comes to when k is the whole training set."
    )
    chart = share_by_k_chart(
        shown, "Line chart: own-language share of the top k proponents by k, with its interval."
    )
    return [Heading("By the number of proponents", text), Figure("share-by-k", chart)]
