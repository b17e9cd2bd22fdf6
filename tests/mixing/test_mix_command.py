"""`sprachbund mix` on a tiny study: nothing is trained twice, only results are kept, mistakes get one line."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from command_line import SKIPPED, Outcome, TinyStudy, make_inputs, sprachbund
from sprachbund.accuracy import evaluate_run
from sprachbund.data.corpus import Corpus
from sprachbund.runs import Run
from sprachbund.study import stages

MIXING = {"factors": [0.5, 2, 4], "languages": ["en"], "attribute": ["factors"]}
MIXES = ("en-x0.5", "en-x2", "only-en", "only-de")
ROOT = Path(__file__).parents[2]


def mix(*arguments: str) -> Outcome:
    return sprachbund("mix", "study.yaml", "--output", "out", *arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Outcome]:
    """A study and all its mixes, made once."""
    folder = tmp_path_factory.mktemp("mixes")
    make_inputs(folder)
    TinyStudy(folder, folder).set(train_per_language=4, mixing=MIXING)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outcome = mix()
    assert outcome.status == 0, outcome.stderr
    return folder, outcome


@pytest.fixture
def study(finished, tmp_path, monkeypatch) -> Path:
    """A copy to go on from, with the times of its files."""
    folder = tmp_path / "study"
    shutil.copytree(finished[0], folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """The runs that are fine-tuned, by mix and seed."""
    names: list[str] = []
    real = stages.finetune

    def counted(*arguments):
        folder = arguments[4].resolve()
        names.append(f"{folder.parents[2].name} {folder.name}")
        return real(*arguments)

    monkeypatch.setattr(stages, "finetune", counted)
    return names


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "out/mixes/tables" / f"mixing_{name}.csv", keep_default_na=False)


def contents(folder: Path) -> list[str]:
    return (folder / "out/mixes/tables/contents.md").read_text(encoding="utf-8").splitlines()


def test_it_prints_what_changes_and_where_the_tables_are(finished):
    _, outcome = finished
    assert outcome.errors == []
    assert "mix left out: en at 4x: 16 training examples asked, but there are 12" in outcome.stderr
    assert "4 mixes beside the study's own, 1 seed(s): 4 runs, 0 of them done" in outcome.stdout
    assert "What each language adds" in outcome.stdout
    assert "0.5x" in outcome.stdout
    assert "out/mixes/tables" in outcome.stdout.replace("\n", "")


def last_checkpoint(accuracy: pd.DataFrame) -> dict[str, float]:
    last = accuracy[accuracy["checkpoint"] == accuracy["checkpoint"].max()]
    return dict(zip(last["language"], 100 * last["accuracy"], strict=True))


def test_accuracy_of_every_mix_is_that_of_its_predictions(finished):
    folder, _ = finished
    found = table(folder, "accuracy").set_index(["mix", "test_language"])["mean"]
    assert set(found.index.get_level_values("mix")) == {"study", *MIXES}
    own = last_checkpoint(pd.read_csv(folder / "out/runs/seed-0/accuracy.csv"))
    for language, percent in own.items():
        assert found["study", language] == pytest.approx(percent)
    for name in MIXES:
        predicted = pd.read_parquet(folder / f"out/mixes/{name}/seed-0/predictions.parquet")
        right = predicted["prediction"] == predicted["label"]
        for language, percent in (100 * right.groupby(predicted["language"]).mean()).items():
            assert found[name, language] == pytest.approx(percent)
    change = table(folder, "change").set_index(["mix", "test_language"])["mean"]
    for cell, value in change.items():
        assert value == pytest.approx(found[cell] - found["study", cell[1]])


def test_only_results_are_kept_and_the_study_keeps_its_checkpoints(finished):
    folder, _ = finished
    assert len(list((folder / "out/runs/seed-0").glob("checkpoint-*/model.safetensors"))) == 3
    assert not list((folder / "out/mixes").rglob("model.safetensors"))
    assert not list((folder / "out/mixes").rglob("optimizer.pt"))
    for name in MIXES:
        kept = folder / "out/mixes" / name / "seed-0"
        assert (kept / "influence/seed-0.zarr").exists() == name.startswith("en-x")


def test_the_examples_of_the_mixes_are_nested(finished):
    folder, _ = finished

    def ids(path: str) -> set[str]:
        return set(pd.read_json(folder / "out" / path / "train.jsonl", lines=True)["id"])

    half, whole, double = (ids(p) for p in ("mixes/en-x0.5/seed-0", "data", "mixes/en-x2/seed-0"))
    assert half < whole < double
    assert (len(half), len(whole), len(double)) == (2 + 4, 4 + 4, 8 + 4)


def test_own_share_stands_beside_the_proportion(finished):
    found = table(finished[0], "own_share").set_index(["mix", "test_language"])
    assert found.loc[("en-x2", "en"), "expected_percent"] == pytest.approx(100 * 8 / 12)
    assert found.loc[("en-x0.5", "de"), "expected_percent"] == pytest.approx(100 * 4 / 6)
    shares = table(finished[0], "share").set_index(["mix", "test_language", "train_language"])
    for (name, language), row in found.iterrows():
        assert row["mean"] == shares.loc[(name, language, language), "mean"]


def test_of_two_languages_the_pair_is_the_study(finished):
    found = table(finished[0], "pairs").set_index("test_language")
    accuracy = table(finished[0], "accuracy").set_index(["mix", "test_language"])["mean"]
    for language, row in found.iterrows():
        alone = max(accuracy["only-en", language], accuracy["only-de", language])
        assert row["pair"] == "en+de"
        assert row["mean"] == pytest.approx(accuracy["study", language] - alone)


def test_a_second_call_does_nothing(study, trained):
    times = {path: path.stat().st_mtime_ns for path in (study / "out/mixes").rglob("*.*")}
    outcome = mix()
    assert outcome.status == 0, outcome.stderr
    assert trained == []
    assert outcome.stdout.count(SKIPPED) == 5
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_only_what_is_missing_is_trained(study, trained):
    shutil.rmtree(study / "out/mixes/only-de")
    assert mix().status == 0
    assert trained == ["only-de seed-0"]
    trained.clear()
    assert mix("--set", "mixing.attribute=[]").status == 0
    assert trained == [], "less to measure is no reason to train again"
    assert not (study / "out/mixes/tables/mixing_share.csv").exists()
    assert mix("--set", "mixing.alone=false", "--set", "mixing.pairs=false").status == 0
    assert trained == [], "of two languages, one left out is the other alone"


def test_another_seed_trains_that_seed_alone(study, trained):
    changes = ("finetuning.seeds=[0, 1]", "mixing.factors=[2]", "mixing.attribute=[]")
    outcome = mix(*(part for change in changes for part in ("--set", change)))
    assert outcome.status == 0, outcome.stderr
    # The study's finished run is opened by the same function.
    assert trained == ["study seed-0", *(f"{name} seed-1" for name in ("study", *MIXES[1:]))]
    assert "2 seed(s): 6 runs, 3 of them done" in outcome.stdout
    (line,) = [row for row in contents(study) if row.startswith("- `mixing_accuracy`")]
    assert "2 seeds (0, 1)" in line
    assert set(table(study, "factors")["factor"]) == {1.0, 2.0}


def test_one_that_was_stopped_goes_on_where_it_was(study, trained, monkeypatch):
    shutil.rmtree(study / "out/mixes")
    counted = stages.finetune

    def stopped(*arguments):
        if len(trained) == 2:
            raise KeyboardInterrupt
        return counted(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "finetune", stopped)
        outcome = mix()
    assert outcome.status == 130
    (line,) = outcome.errors
    assert line.endswith("To go on: sprachbund mix study.yaml --output out")
    assert mix().status == 0
    assert trained == [f"{name} seed-0" for name in MIXES]


def test_kept_checkpoints_share_the_starting_point_of_the_study(study, trained):
    shutil.rmtree(study / "out/mixes/only-de")
    assert mix("--set", "mixing.keep_checkpoints=true").status == 0
    kept = study / "out/mixes/only-de/seed-0/runs/seed-0"
    weights = kept / "checkpoint-0/model.safetensors"
    assert weights.samefile(study / "out/runs/seed-0/checkpoint-0/model.safetensors")
    evaluation = Corpus.read(study / "out/data/evaluation.jsonl")
    measured = last_checkpoint(evaluate_run(Run.open(kept), evaluation))
    found = table(study, "accuracy").set_index(["mix", "test_language"])["mean"]["only-de"]
    assert dict(found) == pytest.approx(measured)
    trained.clear()
    assert mix("--set", "mixing.keep_checkpoints=true").status == 0
    assert mix().status == 0
    assert trained == []
    assert not kept.exists()


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("mixing.factors=[0]", "mixing.factors, entry 1: found 0; expected more than 0"),
        ("mixing.factors=[2, 2]", "mixing.factors=[2, 2]: 2 is listed twice"),
        ("mixing.factors=half", 'mixing.factors=half: found "half"; expected a list'),
        ("mixing.factor=[2]", "no such key; did you mean factors?"),
        ("mixing.languages=[ko]", 'mixing.languages: "ko" is no training language'),
        ("mixing.languages=[English]", 'did you mean "en"?'),
        ("mixing.attribute=[alone]", 'found "alone"; expected one of factors, leave_one_out, pairs'),
        ("mixing.pairs=perhaps", 'found "perhaps"; expected true or false'),
        ("mixing.factors=[0.01]", "mixing.factors: 0.01 times the 4 training examples of en is none"),
        ("analysis.k=7", "mixing.attribute: the mix en-x0.5 has only 6 training examples to rank"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_line_before_anything_is_trained(
    study, trained, override, complaint
):
    outcome = mix("--set", override)
    assert outcome.status == 2
    (line,) = outcome.errors
    assert complaint in line
    assert len(line) < 330
    assert trained == []


def test_a_mistake_in_the_study_file_names_the_file(study):
    TinyStudy(study, study).set(mixing={"factors": [-1]})
    (line,) = mix().errors
    assert line == "error: study.yaml: mixing.factors, entry 1: found -1; expected more than 0"


def test_every_table_and_column_is_documented(finished):
    text = (ROOT / "docs" / "mixing.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `mixing_")}
    for path in (finished[0] / "out/mixes/tables").glob("*.csv"):
        for column in pd.read_csv(path).columns:
            assert f"`{column}`" in rows[path.stem], f"{path.stem}: {column}"
        assert path.with_suffix(".parquet").exists()
        assert path.with_suffix(".tex").exists()
