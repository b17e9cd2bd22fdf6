"""Each section says what the numbers say; the numbers are planted or written by hand."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up_report import made_up

from sprachbund.influence import Influence
from sprachbund.report import ReportData, Results
from sprachbund.report.numbers import Numbers
from sprachbund.report.section import Folded, Section
from sprachbund.report.sections.dynamics import dynamics
from sprachbund.report.sections.explanations import explanations
from sprachbund.report.sections.opponents import opponents
from sprachbund.report.sections.reinforcement import reinforcement
from sprachbund.report.sections.relations import relations
from sprachbund.report.sections.seeds import seeds
from sprachbund.report.sections.sharing import sharing
from sprachbund.report.sections.zero_shot import zero_shot
from sprachbund.report.tables import Table
from synthetic_influence import in_memory

N = 12  # training and test examples in each language


def planted(
    own: float, *, n_test: int = N, train: tuple[str, ...] = ("en", "de"), **changes: Any
) -> ReportData:
    """Noise, and `own` more for training examples in the test example's language."""
    trained = [tag for tag in train for _ in range(N)]
    tested = [tag for tag in ("en", "de") for _ in range(n_test)]
    rng = np.random.default_rng(0)
    agree = np.equal.outer(np.array(tested), np.array(trained))
    values = rng.normal(size=(3, len(tested), len(trained))) + own * agree
    plain = {
        "train_item": [f"a-{n}" for n in range(len(trained))],
        "test_item": [f"b-{n}" for n in range(len(tested))],
    }
    result = in_memory(values, trained, tested, **(plain | changes))
    return data_of({0: result})


def data_of(influences: dict[int, Influence], k: int = 6, **changes: Any) -> ReportData:
    return made_up(("en", "de"), ("en", "de"), seeds=(0,), k=k, influences=influences, **changes)


def made(section: Section | None) -> Section:
    assert section is not None
    return section


def test_a_planted_preference_for_the_own_language_is_found() -> None:
    section = sharing(Numbers(planted(1.0)))
    assert "24 test examples in languages trained on, " in section.findings[0]
    assert "(chance 50.0%): that is above chance" in section.findings[0]
    assert section.findings[1].startswith("By a permutation test all 4 language pairs differ")
    assert ": 2 above, 2 below; the interval excludes chance in 4 of them" in section.findings[1]


def test_chance_stands_beside_every_share_of_the_own_language() -> None:
    trained, tested = ["en"] * N + ["de"] * 2 * N, ["en"] * N + ["de"] * N
    values = np.random.default_rng(0).normal(size=(3, 2 * N, 3 * N))
    uneven = in_memory(values, trained, tested, train_item=[f"a-{n}" for n in range(3 * N)])
    numbers = Numbers(data_of({0: uneven}))
    tables = {
        table.caption: table
        for section in (sharing(numbers), opponents(numbers), dynamics(numbers))
        for part in section.parts
        if isinstance(part, Folded)
        for table in part.tables
    }
    of_rows = [
        table
        for caption, table in tables.items()
        if caption.startswith(("Share of the own", "Own-language share", "The same for the sum"))
    ]
    assert len(of_rows) == 4, "by k for both signs, by epoch alone and summed"
    for table in of_rows:
        assert table.header[-1] == "Chance"
        assert {row[0]: row[-1] for row in table.rows} == {
            "en English": "33.3%",
            "de German": "66.7%",
        }, "a third and two thirds of the training examples"
    (means,) = (table for caption, table in tables.items() if caption.startswith("Mean influence"))
    assert means.header[-1] == "Chance"
    scores = uneven.total().values
    for row, of_language in zip(means.rows, (scores[:N], scores[N:]), strict=True):
        exponent = re.search(r"to the power of (-?\d+)", means.caption)
        power = int(exponent[1]) if exponent else 0
        shown = float(row[-1].replace("−", "-")) * 10.0**power
        assert shown == pytest.approx(of_language.mean(), abs=0.0051 * 10.0**power)
    assert all("chance" in caption or table.footer or "Chance" in table.header
               for caption, table in tables.items() if "share" in caption.lower())  # fmt: skip


def test_noise_is_said_to_be_no_finding() -> None:
    section = sharing(Numbers(planted(0.0)))
    assert "the interval includes chance, so that no effect is shown" in section.findings[0]
    assert "none of the 4 language pairs differs from chance" in section.findings[1]


def test_where_all_test_examples_agree_the_interval_is_that_of_as_many_coin_tosses() -> None:
    section = sharing(Numbers(planted(1000.0)))
    table = next(part.tables[0] for part in section.parts if isinstance(part, Folded))
    # Clopper and Pearson for 12 of 12: 0.025 ** (1 / 12).
    assert table.rows[0][1] == "100.0% [73.5, 100.0]*", "the whole top is in the own language"


def test_where_there_is_one_test_example_there_is_a_dash_and_a_note() -> None:
    agree = np.repeat([1.0, 0.0], N)
    one = in_memory(np.tile(agree, (3, 1, 1)), ["en"] * N + ["de"] * N, ["en"])
    data = made_up(("en", "de"), ("en",), seeds=(0,), k=6, influences={0: one})
    section = sharing(Numbers(data))
    table = next(part.tables[0] for part in section.parts if isinstance(part, Folded))
    assert table.rows[0][1].startswith("100.0% [–]")
    assert table.note.startswith("–: not known")
    assert "as there is no interval" in section.findings[0]


@pytest.mark.filterwarnings("ignore:k is 6 of 12")
def test_with_one_training_language_nothing_is_tested_and_that_is_said() -> None:
    section = sharing(Numbers(planted(1.0, train=("en",))))
    assert "no training examples could exchange their languages" in section.findings[1]


@pytest.mark.parametrize(
    ("by_checkpoint", "said", "direction"),
    [
        ((5.0, 2.0, 0.0), "reliance on other languages rises by", "rises"),
        ((0.0, 2.0, 5.0), "reliance on other languages falls by", "falls"),
        (
            (1.0, 1.0, 1.0),
            "no change of it is shown",
            "no change of the own-language share is shown",
        ),
    ],
)
def test_the_direction_of_the_dynamics_is_that_of_the_numbers(
    by_checkpoint: tuple[float, ...], said: str, direction: str
) -> None:
    data = planted(0.0)
    dataset = data.first.dataset
    agree = dataset["test_language"] == dataset["train_language"]
    strength = np.array(by_checkpoint)[:, None, None]
    noise = np.random.default_rng(1).normal(size=dataset["influence"].shape)
    changed = dataset.assign(
        influence=(dataset["influence"].dims, noise + strength * agree.values[None]),
        test_loss=(("checkpoint", "test"), np.outer([3.0, 2.0, 1.0], np.ones(2 * N))),
    )
    section = dynamics(Numbers(data_of({0: Influence(changed)})))
    assert said in section.findings[0]
    at_every_k = section.findings[1]
    assert at_every_k.startswith("At other k, from epoch 1 on: ")
    assert f"{direction} at k = 10 (" in at_every_k
    assert section.findings[2] == "Meanwhile loss goes from 3.00 to 1.00 on the same test examples."


def test_without_the_table_of_the_change_no_direction_is_said() -> None:
    data = planted(0.0)
    known = Numbers(data).results
    tables = {name: table for name, table in known.tables.items() if name != "own_share_change"}
    section = dynamics(Numbers(replace(data, results=replace(known, tables=tables))))
    assert "the tables do not hold the interval of that change" in section.findings[0]
    assert len(section.findings) == 2, "nothing of other k, either"


def test_translations_among_the_proponents_reinforce() -> None:
    items = [str(n) for n in range(N)] * 2
    data = planted(0.0, train_item=items)
    dataset = data.first.dataset
    by_item = np.random.default_rng(2).normal(size=(3, 2 * N, N))
    same = dataset.assign(influence=(dataset["influence"].dims, np.tile(by_item, 2)))
    section = made(reinforcement(Numbers(data_of({0: Influence(same)}))))
    assert section.findings[0].startswith(
        "100.0% [85.8, 100.0] of the proponents from other languages"
    )
    assert "Drawn at random 25.0% would be" in section.findings[0], "3 of the 12 items"
    found = re.search(
        r"same labels, ([\d.]+)% would be.* The other 0.0% are complementary; of as many with the same labels "
        r"([\d.]+)% would be\.",
        section.findings[0],
    )
    assert found is not None
    assert float(found[1]) + float(found[2]) == pytest.approx(100.0)
    by_chance = [part for part in section.parts if isinstance(part, Folded)][-1].tables[-1]
    assert by_chance.caption.startswith("Chance: among 10")
    assert by_chance.rows[0][1:] == ["–", "83.3%"], "10 of the 12 German examples"


def test_data_that_is_not_parallel_is_one_sentence() -> None:
    section = made(reinforcement(Numbers(planted(0.0, train_item=[""] * 2 * N))))
    assert section.findings[0].startswith("Not possible with this data: the training data is not")
    assert not section.parts


def test_zero_shot_languages_are_named_with_whom_they_lean_on() -> None:
    numbers = Numbers(made_up())
    share = numbers.proponents
    korean = share[share["test_language"] == "ko"]
    most = korean.loc[korean["mean"].idxmax()]
    section = made(zero_shot(numbers))
    assert f"ko Korean leans most on {most['train_language']} " in section.findings[0]
    assert f": {most['mean']:.1f}% [" in section.findings[0]
    assert zero_shot(Numbers(planted(0.0))) is None, "there is no zero-shot language to speak of"


def confounds(none: tuple[float, float], controlled: tuple[float, float]) -> pd.DataFrame:
    """The own-language lift of "en" and "de", certain to 0.1, without control and after one."""
    rows = [
        {"control": control, "test_language": tag, "train_language": tag, "mean": lift}
        for control, lifts in (("none", none), ("gradient_norm", controlled))
        for tag, lift in zip(("en", "de"), lifts, strict=True)
    ]
    frame = pd.DataFrame(rows)
    frame = frame.assign(low=frame["mean"] - 0.1, high=frame["mean"] + 0.1, compared_with="none")
    frame["remaining_percent"] = [
        100 * (row["mean"] - 1) / (plain - 1) if abs(plain - 1) > 0.1 else np.nan
        for row, plain in zip(rows, none * 2, strict=True)
    ]
    frame["change"] = frame["mean"] - [*none, *none]
    return frame.assign(
        remaining_low=frame["remaining_percent"] - 10,
        remaining_high=frame["remaining_percent"] + 10,
        change_q_value=np.where(frame["change"].abs() > 0.6, 0.01, 0.5),
    )


def with_tables(**tables: pd.DataFrame) -> Numbers:
    base = planted(0.0)
    return Numbers(data_of(dict(base.influences), results=Results(tables)))


def test_controls_that_are_shown_to_change_the_lift_are_named_with_their_direction() -> None:
    section = explanations(with_tables(confounds=confounds((2.0, 3.0), (1.5, 1.08))))
    assert section.findings[0].endswith(
        "differs from chance, by its interval, in all 2 languages. Controls that are shown to change it there: "
        "“gradient norm” in 1 of the 2 languages (0 up, 1 down)."
    )
    table = next(part for part in section.parts if isinstance(part, Table))
    assert table.rows[1][3:] == ["1 of 2", "27%", "4% to 50%"]
    remaining = next(part for part in section.parts if isinstance(part, Folded)).tables[1]
    assert remaining.rows[0][1:] == ["50 [40, 60]", "4 [−6, 14]"]


def test_where_no_change_is_shown_no_control_is_named() -> None:
    section = explanations(with_tables(confounds=confounds((2.0, 3.0), (1.5, 2.5))))
    assert section.findings[0].endswith("No control is shown to change it there.")


def test_a_control_of_one_checkpoint_is_not_held_against_the_effect_of_all() -> None:
    frame = confounds((2.0, 3.0), (1.5, 1.05))
    one = frame[frame["control"] == "gradient_norm"].assign(
        control="without head", compared_with="none, checkpoint 9", remaining_percent=[np.nan, 1.0]
    )
    section = explanations(with_tables(confounds=pd.concat([frame, one])))
    assert "“gradient norm” in 1 of the 2" in section.findings[0]
    assert "without head" not in section.findings[0]


def test_without_an_effect_there_is_nothing_to_explain() -> None:
    section = explanations(with_tables(confounds=confounds((1.05, 0.95), (1.0, 1.0))))
    assert section.findings[0].endswith("so that there is no effect to explain.")


def mantel(q_value: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "measure": ["mean influence"], "distance": ["script"], "spearman": [-0.5],
            "null_mean": [0.0], "null_low": [-0.6], "null_high": [0.6], "p_value": [q_value],
            "q_value": [q_value], "n_pairs": [20], "n_languages": [5], "n_permutations": [120],
        }
    )  # fmt: skip


def test_relations_state_what_was_found_and_that_nothing_was() -> None:
    found = relations(with_tables(relations=mantel(0.02))).findings[0]
    assert "mean influence with distance (script) (−0.50, q = 0.020)" in found
    null = relations(with_tables(relations=mantel(0.4))).findings[0]
    assert null.startswith("None of the 1 correlation")
    assert "p = 0.400" in null


def test_seeds_that_disagree_in_sign_are_named() -> None:
    other = planted(0.0).first.dataset
    other["influence"] = -other["influence"]
    base = planted(0.3)
    accuracy = pd.concat([base.accuracy, base.accuracy.assign(seed=1)])
    data = data_of({0: base.first, 1: Influence(other)}, accuracy=accuracy)
    section = seeds(Numbers(data))
    disagree = ~Numbers(data).proponents["signs_agree"].astype(bool)
    assert f"in {int(disagree.sum())} of the 4 language pairs" in section.findings[1] or (
        not disagree.any() and "In none of the 4" in section.findings[1]
    )
    assert "Jaccard index of" in next(p.finding for p in section.parts if hasattr(p, "finding"))
    overlaps = [part for part in section.parts if isinstance(part, Folded)][-1].tables
    assert [table.header[1:] for table in overlaps] == [["Seeds 0 and 1", "Chance"]] * 2
    assert "There is one seed" in seeds(Numbers(planted(0.0))).findings[0]
