"""The CSV tables: what they hold, and that they are whole or not there."""

import errno
import os
import re
import shutil
import warnings
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from sprachbund.analysis.config import AnalysisConfig
from sprachbund.analysis.listings import top_examples_table
from sprachbund.analysis.sharing import language_share
from sprachbund.analysis.tables import write_tables
from sprachbund.errors import InfluenceError, StudyError
from sprachbund.questions import Questions
from synthetic_influence import arguments, in_memory, scores, write

TRAIN, TEST = ["nan", "en", "en", "fr"] * 5, ["ko", "en", "nan", "en"]  # "nan" is Min Nan Chinese
INFLUENCES = {seed: in_memory(scores(3, len(TEST), 20, seed), TRAIN, TEST) for seed in (7, 8)}
KNOWN_COLUMNS = (
    *("test_language", "train_language", "control", "measure", "distance", "k"),
    *("mean", "low", "high", "seed_standard_deviation", "signs_agree", "n_test", "n_clusters"),
)
ACCURACY = pd.DataFrame(
    {"seed": [7], "checkpoint": [10], "language": ["en"], "n": [8], "accuracy": [0.5]}
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all tables of two runs."""
    folder = tmp_path_factory.mktemp("tables")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        write_tables(INFLUENCES, 5, ACCURACY, folder)
    return folder


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv", keep_default_na=False)


def test_every_cell_of_every_seed_is_tabled(tables: Path) -> None:
    for sign in ("proponents", "opponents"):
        table = read(tables, f"sharing_{sign}")
        assert list(table.columns) == [
            *("seed", "test_language", "train_language", "share_percent", "expected_percent"),
            "n_test",
        ]
        assert len(table) == 2 * 3 * 3
        for row in table.itertuples():
            share = language_share(INFLUENCES[row.seed], 5, sign)  # type: ignore[arg-type]
            cell = share.sel(test_language=row.test_language, train_language=row.train_language)
            assert row.share_percent == float(cell)
            assert row.expected_percent == {"nan": 25, "en": 50, "fr": 25}[row.train_language]
            assert row.n_test == TEST.count(row.test_language)


def test_seeds_are_combined_when_there_are_several(tables: Path) -> None:
    single = read(tables, "sharing_proponents")
    table = read(tables, "sharing_proponents_over_seeds").set_index(
        ["test_language", "train_language"]
    )
    for cell, group in single.groupby(["test_language", "train_language"]):
        row = table.loc[cell]
        assert row["share_percent"] == pytest.approx(group["share_percent"].mean())
        assert row["seed_standard_deviation"] == pytest.approx(group["share_percent"].std())
        assert row["n_seeds"] == 2


def test_tables_of_an_earlier_analysis_do_not_stay_to_mislead(tmp_path: Path) -> None:
    write_tables(INFLUENCES, 5, ACCURACY, tmp_path)
    written = write_tables({7: INFLUENCES[7]}, 5, None, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(written)
    names = {path.stem for path in written}
    assert not names & {"accuracy", "sharing_proponents_over_seeds", "overlap_between_seeds"}
    assert names >= {"sharing_proponents", "share_opponents", "confounds", "contents"}


def test_own_language_share_leaves_zero_shot_languages_out(tables: Path) -> None:
    table = read(tables, "own_language_share")
    assert set(table["test_language"]) == {"en", "nan"}
    assert len(table) == 2 * 2 * 3 * 2  # seeds, signs, checkpoints, languages
    assert set(zip(table["checkpoint"], table["epoch"], strict=True)) == {(0, 0), (10, 1), (20, 2)}


def test_top_examples_are_listed_in_full_text(tmp_path: Path) -> None:
    texts = ['a "quoted", text', "two\nlines", "=SUM(1)", "日本 ‏עברית"] * 5
    given = arguments(TRAIN, TEST)
    given["train"]["text"] = texts
    influence = write(tmp_path / "i", scores(3, 4, 20), given)
    write_tables({0: influence}, 5, None, tmp_path / "tables", examples=3)
    table = read(tmp_path / "tables", "top_examples")
    assert len(table) == 4 * 2 * 3
    for row in table[table["sign"] == "opponents"].itertuples():
        expected = influence.opponents(row.test, 3).iloc[row.rank - 1]
        assert (row.train, row.train_text) == (expected["id"], expected["text"])
        assert row.score == expected["score"]
        assert row.test_language == TEST[int(row.test.removeprefix("test-"))]


def test_more_examples_than_there_are_lists_them_all() -> None:
    assert len(top_examples_table({7: INFLUENCES[7]}, 1000)) == 4 * 2 * 20


def test_accuracy_is_passed_through_with_limits(tables: Path) -> None:
    found = read(tables, "accuracy")
    pd.testing.assert_frame_equal(found[ACCURACY.columns], ACCURACY, check_dtype=False)
    # Wilson's interval of 4 of 8, by hand: (4 + z^2 / 2 -+ z * sqrt(2 + z^2 / 4)) / (8 + z^2), z = 1.959964.
    assert found["low"].tolist() == pytest.approx([0.2152], abs=1e-4)
    assert found["high"].tolist() == pytest.approx([0.7848], abs=1e-4)


def test_the_same_results_give_the_same_bytes(tables: Path, tmp_path: Path) -> None:
    write_tables(INFLUENCES, 5, ACCURACY, tmp_path)
    assert len(list(tables.iterdir())) > 60
    for path in tables.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_a_full_disk_leaves_the_table_that_was_there(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tables, tmp_path, dirs_exist_ok=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(StudyError, match=r"sharing_proponents.csv: cannot be written: No space"):
        write_tables(INFLUENCES, 6, ACCURACY, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_k_larger_than_the_training_set_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(InfluenceError, match="k is 100, but there are 20"):
        write_tables(INFLUENCES, 100, None, tmp_path)
    with pytest.raises(InfluenceError, match="no influence result"):
        write_tables({}, 5, None, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_configuration_refuses_what_it_does_not_know() -> None:
    assert AnalysisConfig().k == 100
    for wrong in ({"k": 0}, {"K": 5}, {"k": "many"}, {"examples": -1}):
        with pytest.raises(ValidationError):
            AnalysisConfig.model_validate(wrong)


def test_numbers_in_tables_are_exact(tables: Path) -> None:
    lines = (tables / "sharing_proponents.csv").read_text().splitlines()[1:]
    found = [float(line.split(",")[3]) for line in lines]
    expected = np.concatenate([language_share(i, 5).values.ravel() for i in INFLUENCES.values()])
    np.testing.assert_array_equal(found, expected)


def test_every_table_is_there_in_every_format_and_none_prints_nan(tables: Path) -> None:
    names = {path.stem for path in tables.glob("*.csv")}
    assert {path.stem for path in tables.glob("*.parquet")} == names
    assert {path.stem for path in tables.glob("*.tex")} == names - {"top_examples"}
    for name in names:
        frame = pd.read_parquet(tables / f"{name}.parquet")
        assert frame.shape == read(tables, name).shape, name
        assert frame.attrs["caption"]
    for path in tables.glob("*.tex"):
        text = path.read_text()
        (columns,) = re.findall(r"\\begin\{(?:tabular|longtable)\}\{(l+)r+\}", text)
        for line in text.split(r"\midrule")[-1].splitlines():
            for cell in line.split(" & ")[len(columns) :]:  # "nan" is a language in those before
                assert "nan" not in cell, f"{path.name}: {line}"


def test_captions_say_examples_clusters_k_seeds_interval_and_chance(tables: Path) -> None:
    contents = (tables / "contents.md").read_text()
    (line,) = [line for line in contents.splitlines() if line.startswith("- `share_proponents`")]
    ranked = "20 training examples by tracin-cosine at 2 checkpoints"
    told = (
        "top 5",
        "4 test examples",
        "clusters",
        ranked,
        "2 seeds (7, 8)",
        "95 percent",
        "Chance",
    )
    for part in told:
        assert part in line, part
    assert line.split(": ", 1)[1] in (tables / "share_proponents.tex").read_text()


def test_every_caption_says_what_its_table_rests_on(tables: Path) -> None:
    for path in tables.glob("*.parquet"):
        frame = pd.read_parquet(path)
        caption = frame.attrs["caption"]
        assert "seed" in caption, path.name
        if path.stem == "accuracy":
            continue  # measured on other examples, whose number it has
        assert "4 test examples" in caption or "test examples, " in caption, path.name
        if path.stem == "top_examples":
            continue  # texts
        assert "chance" in caption.lower(), path.name
        if any(column.endswith("low") and column != "null_low" for column in frame):
            assert "95 percent" in caption, path.name
        if "k" in frame:
            assert "k = 5" in caption, path.name
        printed = (tables / f"{path.stem}.tex").read_text()
        if "last row is chance" in caption or "Chance: the last row" in caption:
            assert "\nchance" in printed, path.name


def test_chance_of_accuracy_is_among_the_labels_of_the_model(tmp_path: Path) -> None:
    """Of three labels, no training example has the third."""
    given = {
        "test_prediction": np.full((3, 4), "no", dtype=object),
        "test_label": ["no"] * 3 + ["yes"],
    }
    influence = in_memory(scores(3, 4, 20), TRAIN, TEST, **given)
    influence.dataset.attrs["labels"] = ["no", "yes", "unseen"]
    write_tables({7: influence}, 5, ACCURACY, tmp_path)
    captions = {
        name: pd.read_parquet(tmp_path / f"{name}.parquet").attrs["caption"]
        for name in ("accuracy", "learning_curves")
    }
    for caption in captions.values():
        assert "Chance: 33.3 percent, a guess among 3 labels" in caption
    # Korean and Min Nan have one test example each; of two English ones, one is "no".
    assert "50.0 to 100.0 percent, always the most frequent" in captions["learning_curves"]
    assert "most frequent" not in captions["accuracy"], "whose examples are not known here"


def test_tables_without_intervals_say_which_have_them(tables: Path) -> None:
    for name, other in (
        ("sharing_proponents", "share_proponents"),
        ("sharing_opponents_over_seeds", "share_opponents"),
        ("own_language_share", "dynamics"),
    ):
        caption = pd.read_parquet(tables / f"{name}.parquet").attrs["caption"]
        assert f"Intervals: table {other}." in caption
        assert (tables / f"{other}.csv").exists()


def test_what_the_data_does_not_allow_is_left_out_with_one_line(tmp_path: Path) -> None:
    values = scores(3, len(TEST), 20)
    influence = in_memory(values, TRAIN, TEST, train_item=[""] * 20)
    said: list[str] = []
    write_tables({0: influence}, 5, None, tmp_path, on_notice=said.append)
    for name, reason in (
        ("reinforcement", "not parallel"),
        ("learning curves", "test_loss"),
        ("relations", "no distances"),
        ("overlap between seeds", "one run"),
    ):
        (line,) = [line for line in said if line.startswith(f"table left out: {name}: ")]
        assert reason in line
        assert line.removeprefix("table left out: ") in (tmp_path / "contents.md").read_text()
        assert not (tmp_path / f"{name.replace(' ', '_')}.csv").exists()


def test_seeds_that_disagree_are_counted_in_one_line(tables: Path, tmp_path: Path) -> None:
    said: list[str] = []
    write_tables(INFLUENCES, 5, None, tmp_path, on_notice=said.append)
    cells = read(tables, "sharing_proponents").groupby(["test_language", "train_language"])
    apart = sum(
        (group["share_percent"] > group["expected_percent"]).any()
        and (group["share_percent"] < group["expected_percent"]).any()
        for _, group in cells
    )
    assert apart, "the case must not be trivial"
    (line,) = [line for line in said if "(column signs_agree)" in line]
    assert f"share_proponents ({apart} of 9 cells)" in line
    for name in ("share_opponents", "mean_influence", "reinforcement", "translation_retrieval"):
        table = pd.read_parquet(tmp_path / f"{name}.parquet")
        apart = int((~table["signs_agree"]).sum())
        assert (f"{name} ({apart} of {len(table)} cells)" in line) == (apart > 0)
    said.clear()
    write_tables({7: INFLUENCES[7]}, 5, None, tmp_path, on_notice=said.append)
    assert not any("signs_agree" in line for line in said)


def test_the_shares_with_intervals_are_those_of_the_analysis(tables: Path) -> None:
    table = read(tables, "share_proponents").set_index(["test_language", "train_language"])
    single = read(tables, "sharing_proponents").groupby(["test_language", "train_language"])
    for cell, group in single:
        row = table.loc[cell]
        assert row["mean"] == pytest.approx(group["share_percent"].mean())
        assert row["lift"] == pytest.approx(row["mean"] / row["expected_percent"])


def test_the_lift_of_the_mass_is_over_the_part_of_the_training_data(tables: Path) -> None:
    table = pd.read_parquet(tables / "mass_opponents.parquet")
    for _, row in table.iterrows():
        chance = 100 * TRAIN.count(row["train_language"]) / len(TRAIN)
        for lift, percent in (("lift", "mean"), ("lift_low", "low"), ("lift_high", "high")):
            assert row[lift] == pytest.approx(row[percent] / chance, nan_ok=True)


def test_every_table_and_column_is_documented(tables: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    for path in tables.glob("*.csv"):
        matching = [
            row
            for row in rows
            if any(fnmatch(path.stem, name) for name in re.findall(r"`([\w*]+)`", row[0]))
        ]
        assert matching, f"docs/analysis.md does not name the table {path.stem}"
    for name in ("confounds", "relations", "reinforcement", "translation_retrieval"):
        if (tables / f"{name}.csv").exists():
            (row,) = [row for row in rows if f"`{name}`" in row[0]]
            for column in set(read(tables, name).columns) - set(KNOWN_COLUMNS):
                assert column.removesuffix("_low").removesuffix("_high") in row[-1], column


def test_every_question_that_is_documented_can_be_asked() -> None:
    text = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text(encoding="utf-8")
    asked = set(re.findall(r"^influence\.(\w+)\(", text, flags=re.MULTILINE))
    public = {name for name in vars(Questions) if not name.startswith("_")}
    assert asked == public
