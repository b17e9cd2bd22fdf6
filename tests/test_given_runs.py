"""Studies of runs of one's own: attributed, analysed and reported from a study file, and left as they are."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from sprachbund.errors import ConfigurationError, RunError, SprachbundWarning, StudyError
from sprachbund.mixing.mixing import Mixing
from sprachbund.planning import plan_study
from sprachbund.study import Study
from sprachbund.study_file import read_study
from test_study import STAGES, Watcher, run, study_file  # noqa: F401  (a fixture)

SHOWN = ["data", "evaluate", *STAGES[2:]]


@pytest.fixture
def fine_tuned(study_file) -> Study:  # noqa: F811
    """A study that fine-tunes: two runs, on all twelve training rows in English."""
    study, _ = run(study_file, "finetuning.learning_rate=0.01")
    return study


@pytest.fixture
def given(fine_tuned) -> Path:
    """A study file of the same data that is given the other study's runs, by paths that start at the file."""
    content = yaml.safe_load((fine_tuned.base / "study.yaml").read_text(encoding="utf-8"))
    del content["finetuning"], content["train_per_language"]
    content |= {"runs": ["out/runs/seed-0", "out/runs/seed-1"], "model": {"max_length": 128}}
    path = fine_tuned.base / "given.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def open_study(path: Path, *overrides: str) -> Study:
    config, folder = read_study(path, overrides), path.parent / "given"
    return Study(config, folder, base=path.parent, observer=Watcher())


def changed(path: Path, change) -> Path:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def files_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_given_runs_are_attributed_as_by_the_study_that_made_them(fine_tuned, given, monkeypatch):
    before = files_of(fine_tuned.folder / "runs")
    study = open_study(given)
    study.run()
    assert study.observer.ran == SHOWN
    for seed, influence in study.influences().items():
        expected = fine_tuned.influences()[seed].dataset["influence"]
        found = influence.dataset["influence"].sel(train=expected["train"])
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert influence.provenance["run"] == f"seed-{seed}"
        assert "finetuning" not in influence.provenance
    assert study.accuracy().equals(fine_tuned.accuracy())
    assert study.report_path.is_file()
    assert files_of(fine_tuned.folder / "runs") == before, "a run of one's own is only read"

    again = open_study(given)
    again.run()
    assert again.observer.skipped == SHOWN
    monkeypatch.chdir(study.folder)
    replayed = Study(read_study(Path("study.yaml")), study.folder, base=Path(), observer=Watcher())
    replayed.run()
    assert replayed.observer.skipped == SHOWN, "the resolved study file must mean the same study"


def test_a_single_run_needs_no_list(given):
    study = open_study(changed(given, lambda content: content.update(runs="out/runs/seed-1")))
    study.finetune()
    assert list(study.config.seeds) == [0]
    assert set(study.accuracy()["seed"]) == {0}
    assert study.config.model.path.endswith("seed-1/checkpoint-6")


def test_a_run_that_saw_more_examples_than_are_given_is_warned_of(given):
    study = open_study(given, "train_per_language=4", "analysis.k=2")
    with pytest.warns(SprachbundWarning, match="trained on at least 9 examples, but 4 are given"):
        study.run()
    page = study.report_path.read_text(encoding="utf-8")
    assert "at least 9 examples, but 4 are given" in page, "the page outlives the warning"


def test_a_run_that_saw_fewer_examples_than_are_given_is_warned_of(given):
    rows = (given.parent / "train.jsonl").read_text(encoding="utf-8").splitlines()
    more = [
        json.loads(row) | {"item": f"{copy}-{n}"} for copy in range(2) for n, row in enumerate(rows)
    ]
    text = "".join(json.dumps(row) + "\n" for row in more)
    (given.parent / "train.jsonl").write_text(text, encoding="utf-8")
    study = open_study(given)
    with pytest.warns(SprachbundWarning, match="16 examples at most, but 24 are given"):
        study.finetune()


def test_labels_in_another_order_show_in_the_loss(given):
    """A model whose classes have no names, so that nothing else can tell."""
    for config in given.parent.glob("out/runs/seed-*/checkpoint-*/config.json"):
        content = json.loads(config.read_text(encoding="utf-8"))
        del content["id2label"], content["label2id"]
        config.write_text(json.dumps(content), encoding="utf-8")
    data = {"train": "train.jsonl", "test": "test.jsonl", "labels": ["positive", "negative"]}
    study = open_study(changed(given, lambda content: content.update(data=data)))
    study.finetune()
    with pytest.warns(SprachbundWarning, match="that of a guess among 2 labels 0.693"):
        study.attribute()
    study.analyse()
    study.report()
    page = study.report_path.read_text(encoding="utf-8")
    assert "taken for, in order, positive, negative" in page
    assert "that of a guess among 2 labels" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(finetuning={"epochs": 2}), "finetuning: .* fine-tuned already"),
        (lambda c: c.update(model={}), "model.max_length: missing"),
        (lambda c: c.pop("model"), "model.max_length: missing"),
        (
            lambda c: c["model"].update(num_hidden_layers=1),
            "model.num_hidden_layers: .* those of `runs`",
        ),
        (lambda c: c.pop("runs"), "model.path: missing"),
        (lambda c: c.update(runs=[]), "runs: names no run"),
        (lambda c: c.update(train_per_language="some"), 'train_per_language: found "some"'),
    ],
)
def test_what_does_not_go_with_runs_is_said(given, change, message):
    with pytest.raises(ConfigurationError, match=f"given.yaml: {message}"):
        read_study(changed(given, change))


def test_a_run_that_is_not_there_is_named(given):
    shutil.rmtree(given.parent / "out" / "runs" / "seed-1")
    with pytest.raises(RunError, match="seed-1: no such folder"):
        open_study(given).run()


def test_checkpoints_of_two_trainings_are_not_one_run(given):
    runs = given.parent / "out" / "runs"
    shutil.rmtree(runs / "seed-0" / "checkpoint-3")
    shutil.copytree(runs / "seed-1" / "checkpoint-3", runs / "seed-0" / "checkpoint-3")
    for state in (runs / "seed-0").glob("checkpoint-*/trainer_state.json"):
        content = json.loads(state.read_text(encoding="utf-8"))
        state.write_text(json.dumps(content | {"log_history": []}), encoding="utf-8")
    with pytest.raises(RunError, match="checkpoint-3 with seed 1, checkpoint-6 with seed 0"):
        open_study(given)


def test_one_run_is_not_two_seeds(given):
    twice = changed(given, lambda content: content.update(runs=["out/runs/seed-0"] * 2))
    with pytest.raises(ConfigurationError, match="seed-0 is listed twice"):
        open_study(twice)
    runs = given.parent / "out" / "runs"
    shutil.copytree(runs / "seed-0", runs / "copy")
    study = open_study(
        changed(given, lambda content: content.update(runs=["out/runs/seed-0", "out/runs/copy"]))
    )
    with pytest.raises(StudyError, match="are one run"):
        study.run()


def test_the_page_names_the_runs_and_does_not_say_that_it_fine_tuned(given):
    study = open_study(given)
    study.run()
    page = study.report_path.read_text(encoding="utf-8")
    told = "Given were seed-0 (seed 0) and seed-1 (seed 1), fine-tuned elsewhere, and training examples in 1 language"
    assert told in page
    assert "was fine-tuned" not in page


def test_what_fine_tunes_anew_cannot_be_done_with_runs(given):
    study = open_study(given)
    with pytest.raises(ConfigurationError, match=r"sprachbund removal.* fine-tunes anew"):
        study.removal()
    with pytest.raises(ConfigurationError, match=r"sprachbund mix.* fine-tunes anew"):
        Mixing(study)
    plan = plan_study(study)
    by_name = {stage.name: stage.what for stage in plan.stages}
    assert by_name["finetune"] == "2 run(s) given; accuracy on 12 examples"
    assert by_name["attribute"].startswith("12 training x 6 test examples at 3 checkpoints")
    assert all("fine-tunes anew" in stage.what for stage in plan.further)


def test_results_of_a_fine_tuning_are_not_those_of_a_run(fine_tuned, given):
    study = open_study(given)
    shutil.copytree(fine_tuned.folder / "influence", study.folder / "influence")
    with pytest.raises(StudyError, match="of the run seed-0 by the file, of a fine-tuning in the"):
        study.influences()


def test_all_examples_of_a_language(fine_tuned):
    config = read_study(fine_tuned.base / "study.yaml", ["train_per_language=all"])
    data = Study(config, fine_tuned.folder, base=fine_tuned.base).data
    assert set(data.train.frame["id"]) == set(fine_tuned.data.train.frame["id"])
