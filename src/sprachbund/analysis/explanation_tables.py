"""Tables of what stands behind the shares: translations, labels, properties, nearness."""

import xarray as xr

from sprachbund.analysis import answers
from sprachbund.analysis.answers import Runs
from sprachbund.analysis.captions import caption
from sprachbund.analysis.decomposed import Decompositions, share_by_parameter_group
from sprachbund.analysis.layouts import (
    COUNTS,
    ESTIMATE,
    MEAN,
    MEAN_2,
    PAIR,
    STARRED,
    limits_of,
    named_ks,
    usual_ks,
)
from sprachbund.analysis.listings import SIGNS
from sprachbund.analysis.properties import Given
from sprachbund.analysis.table import Cell, Layout, Table, tidy
from sprachbund.errors import InfluenceError


def reinforcement_tables(runs: Runs, k: int) -> list[Table]:
    found = answers.reinforcement(runs, usual_ks(runs, k))
    names = (
        *("reinforcing_percent", "complementary_percent"),
        *("excess_percent", "excess_given_labels_percent"),
    )
    chances = ("expected_percent", "expected_given_labels_percent")
    limits = limits_of(*names)
    behind = ("n_proponents", "n_without_item")
    of_seeds = ("seed_standard_deviation", "signs_agree")
    columns = (*names, *chances, *limits, *behind, *of_seeds, *COUNTS)
    what = (
        "Percentage of the proponents from another language whose translation is among those "
        f"from the own language (reinforcing; the others are complementary), in the top k, {named_ks(runs, k)}"
    )
    counted = (
        "An item that the own language does not have counts as complementary, which chance allows for; of proponents "
        "without an item (n_without_item a test example, beside n_proponents with one) nothing is said."
    )
    cells = {
        "proponents": Cell("n_proponents"),
        "reinforcing": Cell(names[0], limits[0], limits[1]),
        "complementary": Cell(names[1], limits[2], limits[3]),
        "chance": Cell(chances[0]),
        "excess": Cell(names[2], limits[4], limits[5]),
        "chance given labels": Cell(chances[1]),
        "excess over it": Cell(names[3], limits[6], limits[7]),
    }
    return [
        Table(
            "reinforcement",
            caption(
                what,
                found,
                runs,
                "of reinforcing, as many drawn at random from the language, and as many of each label",
            )
            + f" {counted}",
            tidy(found, ("k", *PAIR), columns).dropna(subset="expected_percent"),
            Layout(["k", *PAIR], cells),
        )
    ]


def retrieval_tables(runs: Runs, k: int) -> list[Table]:
    found = answers.retrieval(runs, k)
    rates = ("rank_percent", "rank_in_label_percent", "found_percent")
    limits = limits_of(*rates)
    of_seeds = ("seed_standard_deviation", "signs_agree")
    columns = (*rates, *limits, "found_chance_percent", "n_translations", *of_seeds, *COUNTS)
    what = (
        f"Rank of the translations of own-language proponents (top {k}) among the examples of "
        "their language, percent, among those of them with its label, and percentage among the first "
        f"{found.attrs['first']}"
    )
    cells = {
        "rank": Cell("rank_percent", limits[0], limits[1]),
        "in its label": Cell("rank_in_label_percent", limits[2], limits[3]),
        "found": Cell("found_percent", limits[4], limits[5]),
        "chance of found": Cell("found_chance_percent"),
    }
    return [
        Table(
            "translation_retrieval",
            caption(what, found, runs, "a rank of 50 percent, both"),
            tidy(found, PAIR, columns).dropna(subset="rank_percent"),
            Layout(PAIR, cells),
        )
    ]


def label_agreement_tables(runs: Runs, k: int) -> list[Table]:
    parts = [answers.label_agreement(runs, k, sign).expand_dims(sign=[sign]) for sign in SIGNS]
    found = xr.concat(parts, dim="sign", combine_attrs="drop")
    what = f"Percentage of the top {k} that has the test example's own label"
    return [
        Table(
            "label_agreement",
            caption(
                what,
                found,
                runs,
                "expected_percent, the part of the training examples with that label",
            ),
            tidy(found, ("sign", "test_language"), (*ESTIMATE, "expected_percent", *COUNTS)),
            Layout(["sign", "test_language"], {**MEAN, "chance": Cell("expected_percent")}),
        )
    ]


def confounds_tables(runs: Runs, k: int, given: Given, parts: Decompositions) -> list[Table]:
    found = answers.confounds(runs, k, given=given, decompositions=parts)
    what = (
        f"Lift of each training language in the top {k} proponents after each control; its change; what remains of "
        "the lift's distance from 1, percent, where that was shown"
    )
    change = ("change", "change_low", "change_high")
    p_and_q = ("change_signs_agree", "change_p_value", "change_q_value")
    remaining = ("remaining_percent", "remaining_low", "remaining_high")
    columns = (*ESTIMATE, *change, *p_and_q, *remaining, "compared_with", *COUNTS)
    cells = {
        "lift": MEAN_2["mean"],
        "change": Cell(*change, 2, "change_q_value"),
        "remains": Cell(*remaining),
    }
    return [
        Table(
            "confounds",
            caption(
                what,
                found,
                runs,
                f"1, of the change 0; {STARRED}, from the intervals of the change",
            ),
            tidy(found, ("control", *PAIR), columns),
            Layout(["control", *PAIR], cells),
        )
    ]


def parameter_groups_tables(runs: Runs, k: int, parts: Decompositions) -> list[Table]:
    if not parts:
        raise InfluenceError(
            "there is no decomposition of these runs as they are now; run `sprachbund decompose "
            "STUDY.yaml`, then analyse again"
        )
    found = share_by_parameter_group(runs, parts, k)
    steps = ", ".join(map(str, next(iter(parts.values())).checkpoints))
    what = (
        f"Percentage of the top {k} proponents by training language, ranked by what each group of "
        f"parameters contributes alone at checkpoint {steps}"
    )
    contribution = ("contribution", *limits_of("contribution"))
    columns = (*ESTIMATE, "expected_percent", "lift", *contribution, *COUNTS)
    return [
        Table(
            "share_by_parameter_group",
            caption(what, found, runs, "the last row"),
            tidy(found, ("group", *PAIR), columns),
            Layout(["group", "test_language"], MEAN, "train_language", "expected_percent"),
        )
    ]


def properties_tables(runs: Runs, given: Given) -> list[Table]:
    found = answers.property_correlations(runs, given)
    what = "Spearman's correlation of influence with properties of the training examples"
    return [
        Table(
            "property_correlations",
            caption(what, found, runs, "0"),
            tidy(
                found,
                ("property", "train_language", "test_language"),
                ("mean", "low", "high", "seed_standard_deviation", *COUNTS),
            ),
            Layout(["property", "train_language"], MEAN_2, "test_language"),
        )
    ]


def relations_tables(runs: Runs, k: int, distances: xr.Dataset) -> list[Table]:
    found = answers.relations(runs, distances, k)
    names = ("spearman", "null_mean", "null_low", "null_high", "p_value", "q_value")
    counts = ("n_pairs", "n_languages", "n_permutations", "exact")
    what = (
        f"Spearman's correlation of influence (k = {k}) with the distance between languages, "
        "without each language's own cell; Mantel test, exchanging languages of the same role"
    )
    cells = {name: Cell(name, digits=3) for name in ("spearman", "p_value", "q_value")}
    cells["null_mean"] = Cell("null_mean", "null_low", "null_high", 3)
    return [
        Table(
            "relations",
            caption(what, found, runs, "null_mean, with where 95 percent of the permutations lie"),
            tidy(found, ("measure", "distance"), (*names, *counts)),
            Layout(["measure", "distance"], {**cells, "pairs": Cell("n_pairs", digits=0)}),
        )
    ]
