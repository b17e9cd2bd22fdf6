"""The removal check as a whole: what was planted is missed, and the command from study file to verdict."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from command_line import SKIPPED, TinyStudy, make_inputs, sprachbund
from sprachbund.attribution import AttributionConfig, attribute
from sprachbund.data.corpus import Corpus
from sprachbund.finetuning import FinetuningConfig, finetune
from sprachbund.influence import Influence
from sprachbund.modeling import ModelConfig
from sprachbund.validation.config import RemovalConfig
from sprachbund.validation.removal import Basis, check_removal
from tiny_models import tiny_corpus, tiny_model

RARE = "schlecht"


def planted() -> tuple[Corpus, Corpus]:
    """Training: all German is positive, but for six rows with one word. Test: these rows."""
    rows = tiny_corpus(36).frame.assign(item="")
    is_other = (rows["language"] == "en") | (rows["label"] == "positive")
    texts = [" ".join(["sehr"] * i + [RARE] + ["Ding"] * j) for i in range(3) for j in (1, 2)]
    rare = rows[rows["text"].str.contains(RARE)].assign(text=texts).reset_index(drop=True)
    train = pd.concat([rows[is_other], rare], ignore_index=True)
    test = rare.assign(id="test-" + rare["id"], split="test")
    labels = ("negative", "positive")
    return Corpus(train, labels, "train"), Corpus(test, labels, "test")


@pytest.fixture(scope="module")
def basis(tmp_path_factory) -> Basis:
    folder = tmp_path_factory.mktemp("planted")
    train, test = planted()
    model = ModelConfig(path=str(tiny_model(folder / "model", dropout=0.0)), max_length=16)
    finetuning = FinetuningConfig(epochs=8, batch_size=8, learning_rate=1e-2)
    run = finetune(model, finetuning, train, None, folder / "run", 0)
    influence = attribute(
        run, train, test, folder / "influence.zarr", config=AttributionConfig(), max_length=16
    )
    config = RemovalConfig(k=(6,), controls=("random",), random_draws=3)
    return Basis(config, model, finetuning, train, test, {0: run}, {0: influence})


def test_without_the_only_evidence_the_prediction_falls_and_without_random_examples_it_does_not(
    basis, tmp_path
):
    said = []
    check_removal(basis, tmp_path, lambda *_: None, said.append)
    assert said[0].startswith("4 retrainings of 8 epochs: (1 languages x 1 criteria (influence)")
    removed = pd.read_csv(tmp_path / "removal_removed.csv")
    texts = basis.train.frame.set_index("id")["text"]
    of_influence = removed[removed["criterion"] == "influence"]["train"]
    assert texts[of_influence].str.contains(RARE).all(), "the planted rows are the top proponents"
    drops = pd.read_csv(tmp_path / "removal_drops.csv", keep_default_na=False)
    drops = drops[(drops["measure"] == "predicted_drop") & (drops["test_language"] == "all")]
    mean = drops.set_index("criterion")["mean"].astype(float)
    assert mean["influence"] > 50, "nothing else in German is negative"
    assert abs(mean["random"]) < 25
    verdict = (tmp_path / "verdicts.md").read_text(encoding="utf-8")
    assert "- influence beats random at k=6: drop larger by " in verdict


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A study with its removal check done."""
    folder = tmp_path_factory.mktemp("finished")
    make_inputs(folder)
    study = TinyStudy(folder, folder)
    study.set(
        finetuning={"epochs": 1},
        removal={"k": [2, 3], "controls": ["random-same", "bm25"], "of": "language"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage in ("finetune", "attribute"):
            assert sprachbund(stage, "study.yaml", "--output", "out").status == 0
        outcome = sprachbund("removal", "study.yaml", "--output", "out")
        assert outcome.status == 0, outcome.stderr
        (folder / "stdout").write_text(outcome.stdout, encoding="utf-8")
    return folder


@pytest.fixture
def study(finished, tmp_path, monkeypatch) -> TinyStudy:
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    return TinyStudy(folder, finished)


def removal(*arguments: str):
    return sprachbund("removal", "study.yaml", "--output", "out", *arguments)


def results(study: TinyStudy) -> dict[Path, int]:
    found = study.folder.glob("out/removal/retrainings/*/probabilities.parquet")
    return {path: path.stat().st_mtime_ns for path in found}


def test_the_command_says_what_it_costs_and_prints_a_verdict_for_each_control_and_k(study):
    text = (study.folder / "stdout").read_text(encoding="utf-8")
    words = " ".join(text.split())
    assert f"{len(results(study))} retrainings of 1 epochs" in words
    assert "2 languages x 3 criteria (influence, bm25, random-same)" in words
    assert "0 done already" in words
    for control in ("bm25", "random-same"):
        assert sum(f" {control} at k={k}: drop " in text for k in (2, 3)) == 2
    assert "random_draws of 3 or more" in text, "what the interval leaves out must be said"


def test_files_hold_every_example_and_no_weights(study):
    folder = study.folder / "out" / "removal"
    examples = pd.read_csv(folder / "removal_examples.csv", keep_default_na=False)
    assert len(examples) == 3 * 2 * 4, "three criteria, two k, four test examples"
    influence = Influence.open("out/influence/seed-0.zarr").dataset.isel(checkpoint=-1)
    full = examples.drop_duplicates("test").set_index("test").loc[influence["test"].values]
    assert full["predicted"].tolist() == influence["test_prediction"].values.tolist()
    np.testing.assert_allclose(full["probability"], influence["test_probability"], rtol=1e-5)
    made = pd.read_csv(folder / "removal_retrainings.csv", keep_default_na=False)
    assert set(made["retraining"]) == {path.parent.name for path in results(study)}
    of_influence = made[made["criterion"] == "influence"]
    assert (of_influence["also_by_influence_percent"] == 100).all()
    assert not list(folder.rglob("*.safetensors"))
    assert {path.suffix for path in folder.glob("removal_differences.*")} == {
        ".csv",
        ".parquet",
        ".tex",
    }


def test_it_is_skipped_when_fresh_and_what_is_done_is_never_trained_again(study):
    before = results(study)
    assert SKIPPED in removal().stdout
    outcome = removal("--set", "removal.k=[3]", "--set", "removal.controls=[bm25]")
    assert outcome.status == 0, outcome.stderr
    assert SKIPPED not in outcome.stdout.split("Retraining without")[1]
    assert results(study) == before
    outcome = sprachbund("attribute", "study.yaml", "--output", "out")
    assert outcome.stdout.count(SKIPPED) == 2, "the check must not make the study stale"


def test_one_that_is_missing_is_the_only_one_trained(study):
    before = results(study)
    lost = sorted(before)[0]
    shutil.rmtree(lost.parent)
    (study.folder / "out" / "removal" / "removal_drops.csv").unlink()
    outcome = removal()
    assert f"{len(before) - 1} done already" in " ".join(outcome.stdout.split())
    after = results(study)
    assert after.keys() == before.keys()
    assert {path for path in after if after[path] != before[path]} == {lost}


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("removal.k=[500]", "removal.k: 500 of 16 training examples cannot be removed"),
        ("removal.k=[0]", "found 0; expected at least 1"),
        ("removal.k=4", "found 4; expected a list"),
        ("removal.k=[many]", 'removal.k, entry 1: found "many"; expected a whole number'),
        ("removal.k=[2, 2]", "2 is listed twice"),
        ("removal.of=languages", 'found "languages"; did you mean language?'),
        ("removal.controls=[bm52]", 'found "bm52"; did you mean bm25?'),
        ("removal.controls=[]", "found []; expected at least one"),
        ("removal.contols=[bm25]", "no such key; did you mean controls?"),
        ("removal.seeds=[7]", "removal.seeds: 7 is not one of finetuning.seeds, 0"),
        ("removal.random_draws=0", "found 0; expected at least 1"),
        ("finetuning.epochs=2", "run `sprachbund finetune` first"),
        ("attribution.method=tracin", "run `sprachbund attribute` first"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_anything_is_trained(study, setting, says):
    before = results(study)
    outcome = removal("--set", setting)
    assert outcome.status == 2, outcome.stdout
    (line,) = outcome.errors
    assert line.startswith("error: ")
    assert says in line
    assert results(study) == before


def test_an_embedding_model_that_is_not_there_is_told(study):
    outcome = removal(
        "--set", "removal.controls=[embedding]", "--set", "removal.embedding_model=./none"
    )
    (line,) = outcome.errors
    assert (outcome.status, "none" in line) == (2, True), line
