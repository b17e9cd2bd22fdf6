"""Data sets through `datasets`, from local folders only."""

import json
from pathlib import Path

import datasets
import pytest

from sprachbund.data import DataConfig, load_corpus
from sprachbund.errors import DataError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def rows(language: str, split: str) -> dict[str, list]:
    return {
        "id": [1, 2, 3],
        "premise": [f"{language} {split} p"] * 3,
        "hypothesis": [f"{language} {split} h{i}" for i in range(3)],
        "label": [0, 1, 2],
    }


def saved(folder: Path, language: str) -> None:
    features = datasets.Features(
        id=datasets.Value("int32"),
        premise=datasets.Value("string"),
        hypothesis=datasets.Value("string"),
        label=datasets.ClassLabel(names=["entailment", "neutral", "contradiction"]),
    )
    splits = {
        name: datasets.Dataset.from_dict(rows(language, name), features=features)
        for name in ("train", "validation")
    }
    datasets.DatasetDict(splits).save_to_disk(str(folder / language))


def load(section: dict, languages: list[str], base: Path):
    return load_corpus(DataConfig.model_validate(section), languages, base)


@pytest.mark.filterwarnings("ignore::sprachbund.errors.SprachbundWarning")
def test_folders_saved_by_datasets_are_read_one_per_language(tmp_path: Path) -> None:
    for language in ("eng_Latn", "deu_Latn"):
        saved(tmp_path / "xnli", language)
    corpus = load({"task": "xnli", "hub": "xnli", "test": "validation"}, ["en", "de"], tmp_path)
    assert corpus.languages == ("en", "de")
    assert len(corpus.select(split="test")) == 6
    assert corpus.is_parallel


def test_one_saved_folder_with_class_labels_and_columns(tmp_path: Path) -> None:
    saved(tmp_path, "en")
    section = {
        "hub": "en",
        "test": "validation",
        "columns": {"text": "premise", "text_pair": "hypothesis"},
        "constants": {"language": "en"},
    }
    with pytest.warns(match="ids repeat"):
        corpus = load(section, ["en"], tmp_path)
    assert corpus.labels == ("contradiction", "entailment", "neutral")
    assert corpus.frame["label"].tolist()[:3] == ["entailment", "neutral", "contradiction"]
    assert corpus.has_pairs


def test_a_folder_of_json_lines_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    for split in ("train", "test"):
        lines = [
            json.dumps({"language": lang, "text": f"{lang} {split}", "label": 1})
            for lang in ("en", "fr")
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    corpus = load({"hub": "plain"}, ["fr", "en"], tmp_path)
    assert len(corpus) == 4
    assert corpus.labels == ("1",)


def test_an_absent_split_lists_those_present(tmp_path: Path) -> None:
    saved(tmp_path, "en")
    with pytest.raises(DataError, match='no split "test"; splits present: train, validation'):
        load({"hub": "en", "constants": {"language": "en"}}, ["en"], tmp_path)


def test_an_absent_language_lists_those_present(tmp_path: Path) -> None:
    saved(tmp_path / "xnli", "en")
    with pytest.raises(DataError, match="nothing for ko; languages present: en"):
        load({"task": "xnli", "hub": "xnli", "test": "validation"}, ["ko"], tmp_path)


def test_a_table_without_splits_is_an_error(tmp_path: Path) -> None:
    datasets.Dataset.from_dict(rows("en", "train")).save_to_disk(str(tmp_path / "table"))
    with pytest.raises(DataError, match="one table without splits"):
        load({"hub": "table"}, ["en"], tmp_path)


def test_a_folder_with_nothing_to_read_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: cannot be loaded") as caught:
        load({"hub": "empty"}, ["en"], tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "section",
    [{"hub": "someone/something"}, {"task": "xnli"}, {"task": "marc", "revision": "main"}],
)
def test_without_a_network_the_hub_is_one_clear_error(section, tmp_path: Path, monkeypatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the Hub\nretrying")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    monkeypatch.setattr(datasets, "get_dataset_config_names", offline)
    with pytest.raises(DataError) as caught:
        load(section, ["en"], tmp_path)
    message = str(caught.value)
    assert "Couldn't reach the Hub" in message
    assert "give a local folder" in message
    assert "\n" not in message


def test_marc_files_on_the_hub_are_named_by_language_and_split(tmp_path: Path, monkeypatch) -> None:
    asked = []

    def load_dataset(kind: str, data_files: dict[str, str]) -> datasets.DatasetDict:
        asked.append((kind, data_files))
        split = next(iter(data_files))
        table = datasets.Dataset.from_dict(
            {"id": ["a", "b"], "text": [f"{split} x", "y"], "label": [0, 4]}
        )
        return datasets.DatasetDict({split: table})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.warns(match="same text"):
        corpus = load({"task": "marc"}, ["de"], tmp_path)
    assert asked[0] == ("json", {"train": "hf://datasets/mteb/amazon_reviews_multi/de/train.jsonl"})
    assert corpus.labels == ("negative", "positive")
    assert corpus.frame["id"].tolist()[0] == "train-de-a"
