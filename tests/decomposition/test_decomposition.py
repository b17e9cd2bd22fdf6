"""The decomposition of a run: against dense gradients of autograd, when cut short, damaged, or asked for too early."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import oracle
from command_line import SKIPPED, sprachbund
from sprachbund.attribution import AttributionConfig, attribute
from sprachbund.data.corpus import Corpus
from sprachbund.decomposition import build, checkpoint, pieces
from sprachbund.decomposition.build import decompose
from sprachbund.decomposition.config import DecompositionConfig
from sprachbund.decomposition.result import Decomposition
from sprachbund.errors import InfluenceError, RunError, SprachbundWarning, StudyError
from sprachbund.finetuning import FinetuningConfig, finetune
from sprachbund.folder_lock import only_process
from sprachbund.modeling import ModelConfig
from sprachbund.runs import Run
from sprachbund.study import Study
from sprachbund.study.decomposition import decompositions_of
from sprachbund.study_file import read_study
from tiny_models import tiny_corpus, tiny_model

GROUPS = ("embeddings: shared sub-words", "embeddings: other", "layer 0", "layer 1", "head")
LAST, ALL = DecompositionConfig(), DecompositionConfig(checkpoints="all")


def rows() -> pd.DataFrame:
    """Two languages that share the words "thing" and "very", and Dutch, which has the words of German."""
    frame = tiny_corpus(items=16).frame
    frame["text"] += (frame["item"].astype(int) % 3).map({0: "", 1: " thing", 2: " very"})
    dutch = frame[frame["language"] == "de"].assign(language="nl")
    return pd.concat([frame, dutch.assign(id=dutch["id"].str.replace("de", "nl"))])


def corpora() -> tuple[Corpus, Corpus]:
    """Train on English and German, test on Dutch too."""
    frame = rows()
    is_test = frame["item"].astype(int) >= 13
    train = frame[~is_test & (frame["language"] != "nl")].sample(frac=1, random_state=0)
    labels = ("negative", "positive")
    return (
        Corpus(train.assign(split="train").reset_index(drop=True), labels, "train"),
        Corpus(frame[is_test].assign(split="test").reset_index(drop=True), labels, "test"),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    model = ModelConfig(path=str(tiny_model(folder / "model", "xlm-roberta")))
    config = FinetuningConfig(epochs=2, batch_size=8, learning_rate=1e-3)
    return finetune(model, config, corpora()[0], None, folder / "seed-0", 0)


def taken_apart(run, path, config=LAST, **attribution) -> Decomposition:
    """With batches of several sizes, and by the cosine unless told otherwise."""
    given = AttributionConfig(**{"batch_size": 5, **attribution})
    return decompose(run, *corpora(), path, config=config, attribution=given)


class Dense:
    """Autograd's gradients at the last checkpoint in float64, and where each group's numbers are."""

    def __init__(self, run: Run) -> None:
        path = run.checkpoints[-1].path
        self.model = AutoModelForSequenceClassification.from_pretrained(path).double().eval()
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.train, self.test = corpora()
        self.train_NP, self.test_MP = self.of(self.train), self.of(self.test)
        self.train_language, self.test_language = (
            corpus.frame["language"].to_numpy() for corpus in (self.train, self.test)
        )

    def of(self, corpus: Corpus) -> torch.Tensor:
        batches = []
        for text, label in zip(corpus.frame["text"], corpus.frame["label"], strict=True):
            tokens = self.tokenizer(text, return_tensors="pt", return_token_type_ids=False)
            batches.append({**tokens, "labels": torch.tensor([corpus.labels.index(label)])})
        return oracle.gradients(self.model, batches)

    def group_of_number(self) -> np.ndarray:
        """Written out by hand for this one model, apart from the package."""
        frame = self.train.frame
        english, german = (
            {word for text in frame["text"][frame["language"] == tag] for word in text.split()}
            for tag in ("en", "de")
        )
        shared = self.tokenizer.convert_tokens_to_ids(sorted(english & german))
        assert len(shared) == 2
        parts = []
        for name, parameter in self.model.named_parameters():
            if name == "roberta.embeddings.word_embeddings.weight":
                of_row = np.array(["embeddings: other"] * len(parameter), dtype=object)
                of_row[shared] = "embeddings: shared sub-words"
                parts.append(np.repeat(of_row, parameter.shape[1]))
                continue
            group = next(
                group
                for mark, group in {
                    "embeddings.": "embeddings: other",
                    "layer.0.": "layer 0",
                    "layer.1.": "layer 1",
                    "classifier.": "head",
                }.items()
                if mark in name
            )
            parts.append(np.repeat(np.array([group], dtype=object), parameter.numel()))
        return np.concatenate(parts)

    def without_means(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean = {tag: self.train_NP[self.train_language == tag].mean(0) for tag in ("en", "de")}
        train = torch.stack(
            [g - mean[tag] for g, tag in zip(self.train_NP, self.train_language, strict=True)]
        )
        test = torch.stack(
            [t - mean.get(tag, 0) for t, tag in zip(self.test_MP, self.test_language, strict=True)]
        )
        return test, train


@pytest.fixture(scope="module")
def dense(run) -> Dense:
    return Dense(run)


def off(found: xr.DataArray, expected: torch.Tensor) -> float:
    return oracle.relative_error(torch.from_numpy(found.values), expected)


def unit(values_MP: torch.Tensor) -> torch.Tensor:
    return values_MP / values_MP.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("method", ["tracin", "tracin-cosine"])
def test_contributions_and_what_is_left_without_means_are_those_of_dense_gradients(
    run, dense, tmp_path, method
):
    found = taken_apart(run, tmp_path / "d.zarr", method=method)
    assert (found.groups, found.checkpoints, found.method) == (GROUPS, (8,), method)
    test_MP, train_NP = dense.test_MP, dense.train_NP
    left_test, left_train = dense.without_means()
    if method == "tracin-cosine":
        scale = test_MP.norm(dim=1)[:, None] * train_NP.norm(dim=1)[None, :]
        left_test, left_train = unit(left_test), unit(left_train)
    else:
        scale = torch.ones(len(test_MP), len(train_NP), dtype=torch.float64)
    group_of_number = dense.group_of_number()
    at = found.dataset.isel(checkpoint=0)
    for group in GROUPS:
        numbers = torch.from_numpy(group_of_number == group)
        of_test, of_train = test_MP[:, numbers], train_NP[:, numbers]
        assert off(at["contribution"].sel(group=group), of_test @ of_train.T / scale) < 1e-5
        norms = (
            at["test_gradient_norm"].sel(group=group),
            at["train_gradient_norm"].sel(group=group),
        )
        for norm, expected in zip(norms, (of_test, of_train), strict=True):
            assert off(norm, expected.norm(dim=1)) < 1e-5
        cosine = found.cosine().isel(checkpoint=0).sel(group=group)
        assert off(cosine, unit(of_test).nan_to_num() @ unit(of_train).nan_to_num().T) < 1e-4, group
    assert off(found.influence()[0], test_MP @ train_NP.T / scale) < 1e-5
    assert off(at["means_removed"], left_test @ left_train.T) < 1e-4


@pytest.mark.parametrize("method", ["tracin", "tracin-cosine"])
def test_contributions_at_every_checkpoint_add_up_to_the_influence_result(run, tmp_path, method):
    train, test = corpora()
    config = AttributionConfig(method=method)
    influence = attribute(run, train, test, tmp_path / "i.zarr", config=config)
    found = taken_apart(run, tmp_path / "d.zarr", ALL, method=method)
    assert found.checkpoints == influence.checkpoints[1:], "the starting point counts in no total"
    for step in found.checkpoints:
        whole = influence.at(step).values
        difference = found.influence().sel(checkpoint=step).values - whole
        assert np.abs(difference).max() < 1e-5 * np.abs(whole).max()
    for name, coordinate in influence.dataset.coords.items():
        if "checkpoint" not in coordinate.dims:
            xr.testing.assert_equal(coordinate, found.dataset[name])


@pytest.mark.parametrize("memory", ["80KB", "10KB"])
def test_several_passes_give_the_same_decomposition(run, tmp_path, memory):
    """By part of the parameters, and by part of the test examples as well."""
    whole = taken_apart(run, tmp_path / "whole.zarr").dataset
    cut = taken_apart(run, tmp_path / "cut.zarr", memory=memory).dataset
    for name in whole.data_vars:
        np.testing.assert_allclose(cut[name], whole[name], atol=2e-5)


def test_cut_short_it_goes_on_where_it_stopped_and_is_the_same_to_the_bit(
    run, tmp_path, monkeypatch
):
    monkeypatch.setattr(pieces, "_SHARD", 10)
    whole = taken_apart(run, tmp_path / "whole.zarr")
    done: list[str] = []

    def stop_at_the_third_shard(path, values, original=checkpoint.save):
        if sum(name.startswith("scores") for name in done) == 2:
            raise KeyboardInterrupt
        original(path, values)
        done.append(path.name)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", stop_at_the_third_shard)
        with pytest.raises(KeyboardInterrupt):
            taken_apart(run, tmp_path / "cut.zarr")
    assert not (tmp_path / "cut.zarr").exists()
    again: list[str] = []

    def note(path, values, original=checkpoint.save):
        original(path, values)
        again.append(path.name)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", note)
        found = taken_apart(run, tmp_path / "cut.zarr")
    assert [name for name in again if name in done] == ["tests-0.npy"], "the bank is filled again"
    assert len([name for name in (*done, *again) if name.startswith("scores")]) == 3
    xr.testing.assert_identical(found.dataset.load(), whole.dataset.load())
    assert not (tmp_path / "cut.zarr.partial").exists()


def test_a_finished_one_is_opened_and_one_of_other_inputs_is_made_afresh(
    run, tmp_path, monkeypatch
):
    path = tmp_path / "d.zarr"
    first = taken_apart(run, path).dataset.load()

    def must_not(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build, "take_apart", must_not)
        xr.testing.assert_identical(taken_apart(run, path).dataset.load(), first)
        with pytest.raises(KeyboardInterrupt):
            taken_apart(run, path, method="tracin")
    xr.testing.assert_identical(Decomposition.open(path).dataset.load(), first)
    with pytest.warns(SprachbundWarning, match="begun with other arguments"):
        assert taken_apart(run, path, ALL).checkpoints == (4, 8)


def test_progress_ends_at_all_passes_over_every_checkpoint(run, tmp_path):
    seen = []
    decompose(
        run,
        *corpora(),
        tmp_path / "d.zarr",
        config=ALL,
        attribution=AttributionConfig(),
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert seen[-1] == (2 * 3 * 26, 2 * 3 * 26)


def test_what_is_missing_or_damaged_is_told_and_never_a_number(run, tmp_path):
    with pytest.raises(InfluenceError, match="make one with `sprachbund decompose"):
        Decomposition.open(tmp_path / "none.zarr")
    path = tmp_path / "d.zarr"
    taken_apart(run, path)
    chunk = path / "contribution" / "c" / "0" / "1" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[7] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(InfluenceError, match=r'array "contribution", chunk file .* is damaged'):
        Decomposition.open(path).influence()
    chunk.unlink()
    with pytest.raises(InfluenceError, match="is missing"):
        Decomposition.open(path)
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["method"] = "tracin"
    (path / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(InfluenceError, match=r"zarr\.json file was changed"):
        Decomposition.open(path)
    influence = attribute(run, *corpora(), tmp_path / "i.zarr", config=AttributionConfig())
    with pytest.raises(InfluenceError, match="is no decomposition"):
        Decomposition.open(tmp_path / "i.zarr")
    with pytest.raises(InfluenceError, match="has a variable contribution"):
        Decomposition(influence.dataset)


def test_a_damaged_piece_is_named(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(build, "assembled", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            taken_apart(run, tmp_path / "d.zarr")
    piece = tmp_path / "d.zarr.partial" / "step-8" / "means.npy"
    piece.write_bytes(piece.read_bytes()[:100])
    with pytest.raises(StudyError, match=r"step-8/means\.npy: damaged"):
        taken_apart(run, tmp_path / "d.zarr")


def test_a_run_that_holds_only_its_starting_point_is_refused(run, tmp_path):
    start = Run(run.path, run.checkpoints[:1])
    with pytest.raises(RunError, match="holds only the starting point"):
        taken_apart(start, tmp_path / "d.zarr")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A study of three languages as a user has it; the present folder."""
    frame = rows()
    is_test = frame["item"].astype(int) >= 12
    for name, part in (("train", frame[~is_test]), ("test", frame[is_test])):
        part[["language", "item", "text", "label"]].to_json(
            tmp_path / f"{name}.jsonl", orient="records", lines=True, force_ascii=False
        )
    tiny_model(tmp_path / "model")
    (tmp_path / "study.yaml").write_text(
        "model: model\n"
        "data: {train: train.jsonl, test: test.jsonl}\n"
        "languages: {train: [en, de], test: [en, de, nl]}\n"
        "train_per_language: 12\n"
        "test_per_language: 4\n"
        "finetuning: {epochs: 2, learning_rate: 1.0e-3, batch_size: 8, seeds: [0]}\n"
        "analysis: {k: 4}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(name: str, *arguments: str):
    return sprachbund(name, "study.yaml", "--output", "out", *arguments)


def controls(folder) -> set[str]:
    return set(pd.read_csv(folder / "out" / "tables" / "confounds.csv")["control"])


def test_the_command_takes_a_study_apart_and_the_tables_use_it_while_it_is_of_the_study(folder):
    outcome = command("decompose")
    assert outcome.status == 2
    assert "run `sprachbund finetune` first" in outcome.errors[0]
    for name in ("finetune", "attribute", "analyse"):
        assert command(name).status == 0
    contents = folder / "out" / "tables" / "contents.md"
    assert "share by parameter group: there is no decomposition" in contents.read_text()
    assert not any(name.startswith("without") for name in controls(folder))

    outcome = command("decompose")
    assert outcome.status == 0, outcome.stderr
    assert f"Taking influence apart {SKIPPED}" in command("decompose").stdout
    outcome = command("analyse")
    assert outcome.status == 0, outcome.stderr
    assert f"Analysing {SKIPPED}" not in outcome.stdout, "new controls must come into the tables"
    names = {"none, checkpoint 6", "mean gradients removed", *(f"without {g}" for g in GROUPS)}
    assert names <= controls(folder)
    table = pd.read_csv(folder / "out" / "tables" / "share_by_parameter_group.csv")
    assert len(table) == 5 * 3 * 2
    sums = table.groupby(["group", "test_language"])["mean"].sum()
    np.testing.assert_allclose(sums, 100)
    assert "share_by_parameter_group" in contents.read_text()

    for override, is_used in (
        ("analysis.k=3", True),
        ("decomposition.checkpoints=all", False),
        ("test_per_language=3", False),
    ):
        config = read_study(folder / "study.yaml", [override])
        study = Study(config, folder / "out", base=folder)
        assert bool(decompositions_of(study)) == is_used, "one of other inputs must not be used"


def test_an_option_that_does_not_exist_is_told_in_one_line(folder):
    outcome = command("decompose", "--set", "decomposition.checkpoints=first")
    assert outcome.status == 2
    (line,) = outcome.errors
    assert "decomposition.checkpoints=first" in line


def test_a_second_process_is_turned_away(run, tmp_path):
    partial = tmp_path / "d.zarr.partial"
    with (
        only_process(partial),
        pytest.raises(StudyError, match="is writing here; wait until it has ended"),
    ):
        taken_apart(run, tmp_path / "d.zarr")
    assert not partial.exists()
