"""The CSV tables: what they hold, and that they are whole or not there."""

import errno
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from sprachbund.analysis.config import AnalysisConfig
from sprachbund.analysis.sharing import language_share
from sprachbund.analysis.tables import write_tables
from sprachbund.errors import InfluenceError, StudyError
from synthetic_influence import arguments, in_memory, scores, write

TRAIN, TEST = ["nan", "en", "en", "fr"] * 5, ["ko", "en", "nan", "en"]  # "nan" is Min Nan Chinese
INFLUENCES = {seed: in_memory(scores(3, len(TEST), 20, seed), TRAIN, TEST) for seed in (7, 8)}
ACCURACY = pd.DataFrame({"seed": [7], "checkpoint": [10], "language": ["en"], "accuracy": [0.5]})


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv", keep_default_na=False)


def test_every_cell_of_every_seed_is_tabled(tmp_path: Path) -> None:
    write_tables(INFLUENCES, 5, ACCURACY, tmp_path)
    for sign in ("proponents", "opponents"):
        table = read(tmp_path, f"sharing_{sign}")
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


def test_seeds_are_combined_when_there_are_several(tmp_path: Path) -> None:
    write_tables(INFLUENCES, 5, None, tmp_path)
    single = read(tmp_path, "sharing_proponents")
    table = read(tmp_path, "sharing_proponents_over_seeds").set_index(
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
    assert [path.stem for path in written] == [
        *("sharing_proponents", "sharing_opponents", "own_language_share", "top_examples")
    ]


def test_own_language_share_leaves_zero_shot_languages_out(tmp_path: Path) -> None:
    write_tables(INFLUENCES, 5, None, tmp_path)
    table = read(tmp_path, "own_language_share")
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


def test_more_examples_than_there_are_lists_them_all(tmp_path: Path) -> None:
    write_tables({7: INFLUENCES[7]}, 5, None, tmp_path, examples=1000)
    assert len(read(tmp_path, "top_examples")) == 4 * 2 * 20


def test_accuracy_is_passed_through(tmp_path: Path) -> None:
    write_tables(INFLUENCES, 5, ACCURACY, tmp_path)
    pd.testing.assert_frame_equal(read(tmp_path, "accuracy"), ACCURACY, check_dtype=False)


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tables(INFLUENCES, 5, ACCURACY, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_full_disk_leaves_the_table_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tables(INFLUENCES, 5, ACCURACY, tmp_path)
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


def test_numbers_in_tables_are_exact(tmp_path: Path) -> None:
    write_tables(INFLUENCES, 3, None, tmp_path)
    lines = (tmp_path / "sharing_proponents.csv").read_text().splitlines()[1:]
    found = [float(line.split(",")[3]) for line in lines]
    expected = np.concatenate([language_share(i, 3).values.ravel() for i in INFLUENCES.values()])
    np.testing.assert_array_equal(found, expected)
