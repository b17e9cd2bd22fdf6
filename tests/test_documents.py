"""The documents say what is so: the reference is current, the README's snippets run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import sprachbund
from sprachbund.configuration import StudyConfig

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_reference_of_the_study_file_is_current():
    tool = ROOT / "tools" / "write_reference.py"
    code = subprocess.run([sys.executable, str(tool), "--check"], check=False).returncode
    assert code == 0, "run `make docs` and commit docs/study-file.md"


def test_the_study_file_of_the_readme_is_valid():
    (text,) = snippets("yaml")
    config = StudyConfig.model_validate(yaml.safe_load(text))
    assert config.languages.test[-1] == "ko"


def test_the_study_file_of_a_run_of_ones_own_is_valid():
    text = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    config = StudyConfig.model_validate(yaml.safe_load(snippet))
    assert (config.seeds, config.train_per_language) == ((0,), "all")


def test_the_pairwise_snippet_of_the_readme_runs():
    import builders

    code = next(snippet for snippet in snippets("python") if "pairwise_influence" in snippet)
    names = {
        "model": builders.xlm_roberta(),
        "train_batches": builders.batches(builders.examples(5), 2),
        "test_batches": builders.batches(builders.examples(3), 3),
    }
    exec(code, names)
    assert names["scores"].shape == (3, 5)


def test_the_influence_snippet_of_the_readme_runs(tmp_path, monkeypatch):
    import synthetic_influence

    languages = ["en", "de", "fr"] * 50
    synthetic_influence.write(
        tmp_path / "sprachbund-demo" / "influence" / "seed-0.zarr",
        synthetic_influence.scores(3, 4, len(languages)),
        synthetic_influence.arguments(languages, ["en", "ko", "en", "ko"]),
    )
    monkeypatch.chdir(tmp_path)
    code = next(snippet for snippet in snippets("python") if "Influence.open" in snippet)
    names = {"sprachbund": sprachbund}
    exec(code, names)
    assert len(names["influence"].proponents(names["first"], k=5)) == 5


@pytest.mark.parametrize("name", re.findall(r"\]\((docs/[\w-]+\.md|NOTICE)\)", README))
def test_every_document_that_the_readme_names_exists(name):
    assert (ROOT / name).is_file()


def test_the_snippets_on_a_run_of_ones_own_run(tmp_path, monkeypatch):
    import trainer_runs

    text = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    opening, whole = (
        snippet
        for snippet in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        if "Run.open" in snippet or "write_tables" in snippet
    )
    trainer_runs.train(tmp_path / "my-output-dir", logging_steps=1)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(opening, names)
    whole = whole.replace(
        ", 128  # tokens", ", 16  # tokens"
    )  # the tiny model has no more positions
    with pytest.warns(sprachbund.SprachbundWarning, match="in order, negative, positive"):
        exec(whole, names)
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "tables" / "share_proponents.csv").is_file()
