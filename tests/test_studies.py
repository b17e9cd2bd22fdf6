"""The ready studies are valid study files."""

from pathlib import Path

import pytest

from sprachbund.configuration import read_study

STUDIES = Path(__file__).parents[1] / "studies"


@pytest.mark.parametrize("path", sorted(STUDIES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_ready_study_can_be_read(path, monkeypatch):
    monkeypatch.setenv("SPRACHBUND_DATA", "data")
    monkeypatch.setenv("SPRACHBUND_MODEL", "model")
    assert read_study(path).languages.train


@pytest.mark.parametrize(
    ("name", "languages", "rate"),
    [
        ("xnli", {"en", "de", "fr", "ru", "es"}, 2e-5),
        ("paws-x", {"en", "de", "fr", "es", "ko"}, 9e-6),
        ("marc", {"zh", "de", "en", "es", "fr"}, 2e-5),
    ],
)
def test_the_ready_studies_of_choenni_2023_are_set_up_as_published(name, languages, rate):
    study = read_study(STUDIES / "choenni2023" / f"{name}.yaml")
    assert study.model.path == "xlm-roberta-base"
    assert set(study.languages.train) == languages
    assert study.train_per_language == 2000
    assert study.test_per_language == 25
    assert study.finetuning.learning_rate == rate
    assert study.finetuning.epochs == 10
    assert study.attribution.method == "tracin-cosine"
    assert study.analysis.k == 100
