"""The whole of a study: from files to a page, skipped when fresh, done again from where something changed."""

import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr
import yaml

from sprachbund import attribution
from sprachbund.errors import ConfigurationError, RunError, SprachbundWarning, StudyError
from sprachbund.study import Study
from sprachbund.study.data import draw
from sprachbund.study.inputs import made_from
from sprachbund.study_file import read_study
from tiny_models import tiny_corpus, tiny_model


class Watcher:
    """Notes which stages ran and which were skipped."""

    def __init__(self):
        self.ran, self.skipped, self.said, self.tasks = [], [], [], {}

    def stage(self, name, *, fresh):
        (self.skipped if fresh else self.ran).append(name)

    def progress(self, task, done, total, note=""):
        self.tasks[task] = (done, total)

    def say(self, text):
        self.said.append(text)


@pytest.fixture
def study_file(tmp_path) -> Path:
    """Rows in files of the user's own, as the README has them: language, text, label, item."""
    rows = tiny_corpus(items=18).frame
    for split, of_split in (
        ("train", rows["item"].astype(int) < 12),
        ("test", rows["item"].astype(int) >= 12),
    ):
        lines = rows[of_split][["language", "text", "label", "item"]].to_dict("records")
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (tmp_path / f"{split}.jsonl").write_text(text, encoding="utf-8")
    tiny_model(tmp_path / "model")
    content = {
        "model": str(tmp_path / "model"),
        "data": {"train": "train.jsonl", "test": "test.jsonl"},
        "languages": {"train": ["en"], "test": ["en", "de"]},
        "train_per_language": 12,
        "test_per_language": 3,
        "finetuning": {"epochs": 2, "batch_size": 4, "seeds": [0, 1]},
        "analysis": {"k": 4},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def run(study_file, *overrides) -> tuple[Study, Watcher]:
    watcher = Watcher()
    config = read_study(study_file, overrides)
    study = Study(config, study_file.parent / "out", base=study_file.parent, observer=watcher)
    study.run()
    return study, watcher


STAGES = ["data", "finetune", "attribute", "analyse", "report"]


def test_a_study_of_own_files_runs_from_rows_to_page_and_is_skipped_when_fresh(
    study_file, monkeypatch
):
    study, watcher = run(study_file)
    assert watcher.ran == STAGES
    assert watcher.tasks["attribution, seed 1"] == (3 * 12, 3 * 12)
    assert study.report_path.read_text(encoding="utf-8").startswith("<!")
    shares = pd.read_csv(study.folder / "tables" / "sharing_proponents.csv", keep_default_na=False)
    assert shares.groupby(["seed", "test_language"])["share_percent"].sum().eq(100).all()
    controls = pd.read_csv(study.folder / "tables" / "confounds.csv", keep_default_na=False)
    assert {"fertility", "sequence_length", "loss"} <= set(controls["control"])
    assert any(line.startswith("table left out: relations") for line in watcher.said), (
        "two languages are too few for a Mantel test, and that must be said"
    )
    dataset = xr.open_zarr(study.folder / "influence" / "seed-0.zarr", chunks=None)
    assert dict(dataset.sizes) == {"checkpoint": 3, "test": 6, "train": 12}
    assert set(dataset["test_language"].values) == {"en", "de"}
    accuracy = study.accuracy()
    assert set(accuracy["language"]) == {"en", "de"}
    assert set(accuracy["n"]) == {6}, "accuracy is measured on all test rows by default"
    assert (study.folder / "environment.txt").is_file()

    _, watcher = run(study_file)
    assert watcher.skipped == STAGES
    assert watcher.ran == []

    monkeypatch.chdir(study.folder)
    replayed = Study(read_study(Path("study.yaml")), study.folder, base=Path(), observer=Watcher())
    replayed.run()
    assert "finetune" in replayed.observer.skipped, (
        "the resolved study file must mean the same study"
    )


def test_only_what_rests_on_a_change_is_done_again(study_file):
    study, _ = run(study_file)
    checkpoint = study.folder / "runs" / "seed-0" / "checkpoint-3" / "model.safetensors"
    trained_at = checkpoint.stat().st_mtime_ns
    _, watcher = run(study_file, "analysis.k=3")
    assert watcher.ran == ["analyse", "report"]
    _, watcher = run(study_file, "attribution.method=tracin", "analysis.k=3")
    assert watcher.ran == ["attribute", "analyse", "report"]
    assert checkpoint.stat().st_mtime_ns == trained_at
    _, watcher = run(study_file, "test_per_language=2", "analysis.k=3")
    assert watcher.ran == ["data", "attribute", "analyse", "report"]
    assert checkpoint.stat().st_mtime_ns == trained_at, "test rows do not change the fine-tuning"
    (study.folder / "tables" / "accuracy.csv").unlink()
    _, watcher = run(study_file, "test_per_language=2", "analysis.k=3")
    assert watcher.ran == ["analyse"]


def test_another_seed_leaves_what_is_done_of_the_others(study_file, monkeypatch):
    run(study_file, "finetuning.seeds=[0]")
    scored = []
    score = attribution._score_checkpoint
    monkeypatch.setattr(
        attribution,
        "_score_checkpoint",
        lambda writer, *rest: scored.append(writer.path.stem) or score(writer, *rest),
    )
    study, watcher = run(study_file, "finetuning.seeds=[0, 1]")
    assert watcher.ran == STAGES[1:]
    assert set(scored) == {"seed-1"}
    assert set(study.influences()) == {0, 1}


def test_a_model_is_known_by_its_content_and_not_by_the_times_of_its_files(study_file):
    study, _ = run(study_file)
    model = study_file.parent / "model"
    for file in model.iterdir():
        os.utime(file, (0, 0))  # as a copy, or a folder that is mounted anew, has other times
    _, watcher = run(study_file)
    assert watcher.skipped == STAGES
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    assert not study.is_fresh("finetune")
    with pytest.raises(RunError, match=r"other settings \(model files\)"):
        run(study_file)


def test_the_file_in_a_studys_folder_goes_on_where_the_study_stood(study_file, monkeypatch):
    """It has paths that hold anywhere, where the user's own may have others."""
    monkeypatch.chdir(study_file.parent)
    study, _ = run(study_file, "model=model")
    monkeypatch.chdir(study_file.parent.parent)
    config = read_study(study.folder / "study.yaml")
    again = Study(config, study.folder, base=study.folder, observer=Watcher())
    again.run()
    assert again.observer.skipped == STAGES
    study.run_path(0).joinpath("accuracy.csv").unlink()
    again.run()  # a run that is begun is claimed again
    assert again.observer.skipped == [*STAGES, *STAGES[:1], *STAGES[2:]]


def test_distances_that_are_not_there_are_refused_before_anything_is_trained(study_file):
    config = read_study(study_file, ["analysis.distances=none.csv"])
    study = Study(config, study_file.parent / "out", base=study_file.parent)
    with pytest.raises(
        ConfigurationError, match=r"analysis\.distances: there is no file .*none\.csv"
    ):
        study.run()
    assert not (study.folder / "runs").exists()


def test_distances_that_change_are_analysed_anew_and_nothing_else(study_file):
    path = study_file.parent / "distances.csv"
    path.write_text("language,other_language,made_up\nen,de,0.5\n")
    study = Study(
        read_study(study_file, ["analysis.distances=distances.csv"]),
        study_file.parent / "out",
        base=study_file.parent,
    )
    before = {stage: made_from(study, stage) for stage in STAGES}
    path.write_text("language,other_language,made_up\nen,de,0.25\n")
    changed = [stage for stage in STAGES if made_from(study, stage) != before[stage]]
    assert changed == ["analyse", "report"]


def test_a_study_is_compared_with_one_of_more_languages_once_that_is_run(study_file):
    zero_shot = ["languages.test=[de]", "finetuning.seeds=[0]"]
    _, watcher = run(study_file, *zero_shot, "analysis.compare_with=both")
    (line,) = [line for line in watcher.said if "overlap with the other study" in line]
    assert 'the study "both" that analysis.compare_with names has no influence results yet' in line

    config = read_study(study_file, [*zero_shot, "languages.train=[en, de]"])
    other = Study(config, study_file.parent / "both", base=study_file.parent)
    other.run()
    study, watcher = run(study_file, *zero_shot, "analysis.compare_with=both")
    assert watcher.ran == ["analyse", "report"]
    table = pd.read_parquet(study.folder / "tables" / "overlap_with_other_study.parquet")
    expected = study.influences()[0].overlap(other.influences()[0], k=4)
    assert table["test_language"].tolist() == ["de"]
    assert table["jaccard"].tolist() == pytest.approx(expected["jaccard"].values.tolist())
    assert table["n_candidates"].tolist() == [12]
    page = study.report_path.read_text(encoding="utf-8")
    assert "Do the same predictions rest on the same examples in the other study?" in page


@pytest.mark.parametrize("folder", ["removal", "mixes/tables"])
def test_tables_of_another_analysis_make_the_page_anew_and_nothing_else(study_file, folder):
    study = Study(read_study(study_file), study_file.parent / "out", base=study_file.parent)
    states = [{stage: made_from(study, stage) for stage in STAGES}]
    table = study.folder / folder / "made_up.parquet"
    table.parent.mkdir(parents=True)
    for content in ("first", "second time"):
        table.write_text(content)
        states.append({stage: made_from(study, stage) for stage in STAGES})
    for before, after in pairwise(states):
        assert [stage for stage in STAGES if after[stage] != before[stage]] == ["report"]


def test_a_stage_without_the_one_before_says_which_command_to_run(study_file):
    config = read_study(study_file)
    study = Study(config, study_file.parent / "empty", base=study_file.parent)
    with pytest.raises(StudyError, match="run `sprachbund finetune` first"):
        study.attribute()
    with pytest.raises(StudyError, match="run `sprachbund attribute` first"):
        study.analyse()


def test_results_of_another_study_file_are_not_analysed(study_file):
    study, _ = run(study_file)
    page = study.report_path.read_bytes()
    for override, message in (
        ("finetuning.epochs=3", r"finetuning\.epochs is 3 in the file, 2 in the result"),
        ("attribution.method=tracin", r"attribution\.method is tracin in the file, tracin-cosine"),
        ("seed=5", "of train example 1 is"),
        ("test_per_language=2", "4 test examples by the file, 6 in the result"),
    ):
        changed = Study(read_study(study_file, [override]), study.folder, base=study_file.parent)
        with pytest.raises(StudyError, match=f"seed-0.zarr: not of this study file: .*{message}"):
            changed.influences()
        for stage in ("analyse", "report"):
            assert status_of(stage, study_file, study.folder, override) == 2
    assert study.report_path.read_bytes() == page
    assert "seed: 5" not in (study.folder / "study.yaml").read_text(encoding="utf-8")
    # What decides how fast it goes, or where the model lies, makes no other result.
    moved = study_file.parent / "moved"
    shutil.copytree(study_file.parent / "model", moved)
    for overrides in (["attribution.batch_size=2", "attribution.memory=1GiB"], [f"model={moved}"]):
        config = read_study(study_file, overrides)
        Study(config, study.folder, base=study_file.parent).influences()
    (moved / "config.json").write_text((moved / "config.json").read_text() + " ")
    with pytest.raises(StudyError, match=r"model is .*moved in the file, .*model in the result"):
        Study(config, study.folder, base=study_file.parent).influences()


def status_of(stage, study_file, folder, override) -> int:
    command = [stage, str(study_file), "-o", str(folder), "--set", override]
    return subprocess.run(
        [sys.executable, "-m", "sprachbund", *command], capture_output=True, check=False
    ).returncode


def test_labels_that_look_like_a_slip_are_named(study_file):
    path = study_file.parent / "train.jsonl"
    first, *rest = path.read_text(encoding="utf-8").splitlines(keepends=True)
    label = json.loads(first)["label"]
    changed = json.dumps(json.loads(first) | {"label": f"{label} "})
    path.write_text(changed + "\n" + "".join(rest), encoding="utf-8")
    with pytest.warns(SprachbundWarning, match=f'"{label} " .*differ by case or blanks alone'):
        draw(read_study(study_file), study_file.parent)


def test_a_label_of_a_single_row_is_named(study_file):
    path = study_file.parent / "train.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    many = [
        json.loads(line) | {"item": f"{copy}-{n}"}
        for copy in range(3)
        for n, line in enumerate(lines)
    ]
    many[0]["label"] = "posititve"
    path.write_text("".join(json.dumps(row) + "\n" for row in many), encoding="utf-8")
    with pytest.warns(SprachbundWarning, match='"posititve" has a single row of 84'):
        draw(read_study(study_file), study_file.parent)


def test_a_result_of_a_seed_that_is_no_longer_asked_for_is_named(study_file):
    run(study_file)
    with pytest.warns(
        SprachbundWarning, match=r"seed-1.zarr: of a seed that the study file does not"
    ):
        run(study_file, "finetuning.seeds=[0]")
