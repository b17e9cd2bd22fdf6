"""The report reads the tables that the analysis wrote, and why some are missing."""

import warnings
from pathlib import Path

import pandas as pd
import pytest
from made_up_report import TEST, TRAIN, influence, made_up

from sprachbund.analysis.tables import write_tables
from sprachbund.errors import SprachbundWarning
from sprachbund.report import read_results
from sprachbund.report.numbers import Numbers
from sprachbund.report.results import computed_results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "tables"
    write_tables(made_up().influences, 6, None, folder)
    return folder


def test_what_is_read_is_what_would_be_computed(folder: Path) -> None:
    read, computed = read_results(folder), computed_results(made_up().influences, 6)
    assert set(computed.tables) <= set(read.tables)
    for name, frame in computed.tables.items():
        pd.testing.assert_frame_equal(
            read.tables[name], frame.reset_index(drop=True), check_dtype=False
        )
    assert read.left_out == computed.left_out
    assert read.left_out["overlap between seeds"].startswith("there is one run")


def test_a_further_analysis_adds_its_tables_and_need_not_be_there(
    folder: Path, tmp_path: Path
) -> None:
    pd.DataFrame({"drop": [1.0]}).to_parquet(tmp_path / "removal_drops.parquet")
    results = read_results(folder, tmp_path, tmp_path / "not there")
    numbers = Numbers(made_up(results=results))
    drops = numbers.table("removal_drops")
    assert drops is not None
    assert drops["drop"].tolist() == [1.0]
    assert numbers.table("nothing of the kind") is None
    assert numbers.why_not("relations").startswith("Not possible with this data: no distances")


def test_the_study_s_own_k_is_warned_of_elsewhere() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", SprachbundWarning)
        computed_results({0: influence(TRAIN, TEST)}, 20)
