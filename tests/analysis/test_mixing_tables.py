"""The tables of a sweep over mixes: what their captions say, chance levels, and how they are set."""

import numpy as np
import pandas as pd
import pytest

from sprachbund.analysis.latex import latex
from sprachbund.analysis.mixes import Mix, Sweep
from sprachbund.analysis.mixing import correctness
from sprachbund.analysis.mixing_tables import Measured, mixing_tables
from sprachbund.analysis.table import Table, printed
from synthetic_influence import in_memory, scores

MIXES = (Mix("study", {"en": 12, "de": 12}), Mix("en-x2", {"en": 24, "de": 12}))
SWEEP = Sweep(MIXES[0], {("en", 1.0): MIXES[0], ("en", 2.0): MIXES[1]}, {}, {}, {})
LABELS = ("no", "unseen", "yes")  # the model has one that no test example has
TEST = ["en"] * 4 + ["de"] * 5


def predictions(seed: int) -> pd.DataFrame:
    label = ["yes", "no", "no", "no", "yes", "yes", "yes", "no", "no"]
    tossed = np.random.default_rng(seed).choice(["yes", "no"], size=9)
    names = [f"t{n}" for n in range(9)]
    return pd.DataFrame(
        {"id": names, "language": TEST, "item": names, "group": "", "label": label, "prediction": tossed}
    )  # fmt: skip


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    correct = {
        seed: correctness({mix.name: predictions(10 * seed + n) for n, mix in enumerate(MIXES)})
        for seed in (3, 5)
    }
    influences = {
        mix.name: {
            seed: in_memory(
                scores(3, 9, mix.n_train, seed),
                [language for language, n in mix.counts.items() for _ in range(n)],
                TEST,
            )
            for seed in (3, 5)
        }
        for mix in MIXES
    }
    return {t.name: t for t in mixing_tables(Measured(SWEEP, correct, influences, 6, LABELS))}


def test_chance_is_a_guess_among_the_labels_of_the_model(tables: dict[str, Table]) -> None:
    caption = tables["mixing_accuracy"].caption
    assert "Chance: 33.3 percent, a guess among 3 labels; " in caption
    # Three of four English test examples are "no", three of five German ones "yes".
    assert "60.0 to 75.0 percent, always the most frequent label of a language" in caption


def test_every_caption_names_the_seeds(tables: dict[str, Table]) -> None:
    for table in tables.values():
        assert "2 seeds (3, 5)" in table.caption, table.name


def test_shares_by_mix_have_the_chance_level_of_their_mix(tables: dict[str, Table]) -> None:
    table = tables["mixing_share"]
    assert table.layout is not None
    shown = printed(table, table.layout)
    rows = [["study", "en"], ["study", "de"], ["study", "chance"], ["en-x2", "en"], ["en-x2", "de"]]
    assert shown[["mix", "test_language"]].to_numpy().tolist() == [*rows, ["en-x2", "chance"]]
    chance = shown[shown["test_language"] == "chance"]
    assert chance[["en", "de"]].to_numpy().tolist() == [["50.0", "50.0"], ["66.7", "33.3"]]
    assert "chance & 66.7 & 33.3" in latex(table, table.layout)
    assert "chance" not in set(table.frame["test_language"]), "the frame has it in a column"


def test_shares_as_deep_as_the_studys_are_of_a_k_in_proportion(tables: dict[str, Table]) -> None:
    """6 of the study's 24 training examples are 9 of the 36 of the larger mix."""
    table = tables["mixing_own_share_as_deep"]
    frame = table.frame.set_index(["mix", "test_language"])
    assert frame["k"].groupby("mix").first().to_dict() == {"study": 6, "en-x2": 9}
    assert "first 25 percent of the training examples" in table.caption
    by_seed = []
    for seed in (3, 5):
        total = scores(3, 9, 36, seed)[1:].sum(axis=0)  # of cosines, without the starting point
        top = np.argsort(-total, axis=1)[:, :9]
        by_seed.append((top < 24).mean(axis=1) * 100)  # the first 24 are English
    english = np.mean(by_seed, axis=0)
    assert frame.loc[("en-x2", "en"), "mean"] == pytest.approx(english[:4].mean())
    assert frame.loc[("en-x2", "de"), "mean"] == pytest.approx(100 - english[4:].mean())
    same = tables["mixing_own_share"].frame.set_index(["mix", "test_language"])
    assert frame.loc["study", "mean"].tolist() == same.loc["study", "mean"].tolist()


def test_mixes_of_one_size_have_one_depth() -> None:
    halves = Mix("en-more", {"en": 18, "de": 6})
    sweep = Sweep(MIXES[0], {("en", 1.5): halves}, {}, {}, {})
    correct = {
        3: correctness({mix.name: predictions(n) for n, mix in enumerate((MIXES[0], halves))})
    }
    influences = {
        mix.name: {
            3: in_memory(
                scores(3, 9, 24), ["en"] * mix.counts["en"] + ["de"] * mix.counts["de"], TEST
            )
        }
        for mix in (MIXES[0], halves)
    }
    names = [t.name for t in mixing_tables(Measured(sweep, correct, influences, 6, LABELS))]
    assert "mixing_own_share" in names
    assert "mixing_own_share_as_deep" not in names
