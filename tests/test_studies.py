"""The ready studies are valid study files."""

from pathlib import Path

import pytest

from sprachbund.study_file import read_study
from sprachbund.validation.selection import RANDOM

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


@pytest.mark.parametrize(
    ("name", "zero_shot"),
    [("xnli", {"bg", "zh", "ar", "sw"}), ("paws-x", {"zh", "ja"}), ("marc", {"ja"})],
)
def test_the_ready_studies_of_choenni_2023_ask_of_zero_shot_and_of_removal(name, zero_shot):
    path = STUDIES / "choenni2023" / f"{name}.yaml"
    study = read_study(path)
    assert set(study.languages.test) - set(study.languages.train) == zero_shot
    assert set(study.languages.train) < set(study.languages.test)
    assert study.removal.of == "example", "they removed each test example's own proponents"
    criteria = 1 + len([control for control in study.removal.controls if control != RANDOM])
    targets = len(study.languages.test) * study.removal.examples_per_language
    retrainings = len(study.removal.k) * (targets * criteria + study.removal.random_draws)
    assert f"for each set: {retrainings} for" in path.read_text(encoding="utf-8")
    assert study.removal.seeds == (), "one seed, as the number in the head has it"


def test_the_removal_check_on_sib_200_is_of_the_same_study_as_the_shares(monkeypatch):
    monkeypatch.setenv("SPRACHBUND_DATA", "data")
    monkeypatch.setenv("SPRACHBUND_MODEL", "model")
    shares, removal = (
        read_study(STUDIES / "small" / f"sib200-{name}.yaml") for name in ("families", "removal")
    )
    for part in ("model", "data", "train_per_language", "test_per_language"):
        assert getattr(removal, part) == getattr(shares, part)
    assert removal.languages.train == removal.languages.test == shares.languages.train
    same = {"seeds": (0,)}
    assert removal.finetuning == shares.finetuning.model_copy(update=same)


@pytest.mark.parametrize("path", sorted(STUDIES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_readme_of_the_studies_names_every_study(path):
    assert path.name in (STUDIES / "README.md").read_text(encoding="utf-8")
