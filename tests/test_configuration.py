"""The study file: what it may leave out, short forms, variables and overrides; mistakes are in bad_input."""

from pathlib import Path

import pytest
import yaml

from sprachbund.configuration import StudyConfig
from sprachbund.errors import ConfigurationError
from sprachbund.study_file import read_study

MINIMAL = """
model: some-model
data: {train: train.jsonl, test: test.jsonl}
languages: {train: [en, de]}
"""


def read(tmp_path: Path, text: str = MINIMAL, *overrides: str) -> StudyConfig:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return read_study(path, overrides)


def problem(tmp_path: Path, text: str, *overrides: str) -> str:
    """The complaint, without the path of the file."""
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text, *overrides)
    return str(caught.value).removeprefix(f"{tmp_path / 'study.yaml'}")


def test_three_keys_are_a_study_and_the_rest_has_defaults(tmp_path):
    study = read(tmp_path)
    assert study.model.path == "some-model"
    assert study.languages.test == study.languages.train == ("en", "de")
    assert (study.train_per_language, study.test_per_language, study.analysis.k) == (200, 10, 100)


def test_a_study_written_out_reads_as_the_same_study(tmp_path):
    study = read(tmp_path)
    assert read(tmp_path, study.as_yaml()) == study


def test_languages_are_normalised_and_no_is_norwegian(tmp_path):
    text = MINIMAL.replace("[en, de]", "[no, deu_Latn]")
    study = read(tmp_path, text + "train_per_language: {no: 3, de: 4}")
    assert study.languages.train == ("no", "de")
    assert study.train_per_language == {"no": 3, "de": 4}


def test_variables_of_the_environment_are_filled_in_anywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTS", "/data/texts")
    text = MINIMAL.replace("train.jsonl", '"${TEXTS}/train.jsonl"')
    train = read(tmp_path, text).data.train
    assert train is not None
    assert train.path == "/data/texts/train.jsonl"


def test_overrides_change_and_add_keys_and_the_last_one_counts(tmp_path):
    overrides = ("analysis.k=7", "finetuning.seeds=[3, 4]", "model.max_length=32", "analysis.k=8")
    study = read(tmp_path, MINIMAL, *overrides)
    assert (study.analysis.k, study.finetuning.seeds) == (8, (3, 4))
    assert (study.model.path, study.model.max_length) == ("some-model", 32)


def test_an_exponent_without_a_point_is_a_number(tmp_path):
    """YAML 1.1 reads 2e-5 as text, which is what most people write."""
    assert read(tmp_path, MINIMAL, "finetuning.learning_rate=2e-5").finetuning.learning_rate == 2e-5


@pytest.mark.parametrize("key", sorted(set(StudyConfig.model_fields) - {"seed"}))
def test_every_key_with_two_letters_swapped_is_recognised(tmp_path, key):
    misspelt = key[:2] + key[3] + key[2] + key[4:]
    content = yaml.safe_load(MINIMAL)
    content[misspelt] = content.pop(key, 1)
    complaint = problem(tmp_path, yaml.safe_dump(content))
    assert complaint == f": {misspelt}: no such key; did you mean {key}?"


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("model.layers=0", "no such key; known keys: path, num_hidden_layers, max_length"),
        ("model.path=", "found nothing; expected text"),
        ("train_per_language=many", "expected a whole number, or keys with values"),
        ("train_per_language={en: 2, de: x}", 'found "x"; expected a whole number'),
        ("languages={train: [en, 1]}", "found 1; expected text"),
        ("data={train: a, test: a}", "train and test read the same rows"),
        ("data.where={a: [[1]]}", "expected text, or a whole number, or a number"),
        ("data.task=xnly", "did you mean xnli?"),
        ("finetuning.warmup_ratio=1.5", "found 1.5; expected less than 1"),
        ("finetuning.learning_rate=.inf", "found inf; expected a finite number"),
        ("finetuning.seeds=[]", "found []; expected at least one"),
        ("seed.x=3", "found {x: 3}; expected a whole number"),
        ("finetuning.seeds=[1", "not valid YAML: it ends within"),
    ],
)
def test_a_mistake_in_an_override_is_told_of_the_override(tmp_path, override, complaint):
    found = problem(tmp_path, MINIMAL, override)
    assert found.startswith(f"--set {override}: ")
    assert complaint in found


def test_a_study_that_nothing_was_said_of_names_the_first_key_it_needs(tmp_path):
    assert problem(tmp_path, "seed: 1") == ": model: missing; the study needs it"
