"""Attribution of a run: against autograd at each checkpoint, and after being killed at any moment."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import oracle
from sprachbund.attribution import AttributionConfig, attribute
from sprachbund.data.corpus import Corpus
from sprachbund.errors import ConfigurationError
from sprachbund.finetuning import FinetuningConfig, finetune
from sprachbund.modeling import ModelConfig
from sprachbund.runs import Run
from tiny_models import tiny_corpus, tiny_model


def corpora() -> tuple[Corpus, Corpus]:
    whole = tiny_corpus(items=16)
    is_test = whole.frame["item"].astype(int) >= 12

    def part(rows, split):
        frame = whole.frame[rows].assign(split=split).reset_index(drop=True)
        return Corpus(frame=frame, labels=whole.labels, name=split)

    return part(~is_test, "train"), part(is_test, "test")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    model = ModelConfig(path=str(tiny_model(folder / "model", "xlm-roberta")))
    config = FinetuningConfig(epochs=2, batch_size=8, learning_rate=1e-3)
    return finetune(model, config, corpora()[0], None, folder / "seed-0", 0)


def encoded(tokenizer, corpus) -> list[dict[str, torch.Tensor]]:
    """Batches of one, tokenised here, apart from the package."""
    rows = []
    for text, label in zip(corpus.frame["text"], corpus.frame["label"], strict=True):
        tokens = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        rows.append({**tokens, "labels": torch.tensor([corpus.labels.index(label)])})
    return rows


@pytest.mark.parametrize("method", ["tracin", "tracin-cosine"])
def test_every_checkpoint_equals_autograd_one_example_at_a_time(run, tmp_path, method):
    train, test = corpora()
    config = AttributionConfig(method=method, batch_size=5)
    result = attribute(run, train, test, tmp_path / "influence.zarr", config=config)
    assert result.checkpoints == (0, 3, 6)
    tokenizer = AutoTokenizer.from_pretrained(run.path / "checkpoint-3")
    train_rows, test_rows = encoded(tokenizer, train), encoded(tokenizer, test)
    totals = np.zeros((len(test), len(train)))
    for checkpoint in run.checkpoints:
        model = AutoModelForSequenceClassification.from_pretrained(checkpoint.path).double().eval()
        similarity = "cosine" if method == "tracin-cosine" else "dot"
        expected = oracle.influence(model, train_rows, test_rows, similarity)
        found = torch.from_numpy(result.at(checkpoint.step).values)
        assert oracle.relative_error(found, expected) < 1e-5
        if checkpoint.step:
            totals += expected.numpy() * (
                1.0 if similarity == "cosine" else checkpoint.learning_rate
            )
        norms = oracle.gradients(model, train_rows).norm(dim=1).numpy()
        stored = result.dataset["train_gradient_norm"].sel(checkpoint=checkpoint.step).values
        np.testing.assert_allclose(stored, norms, rtol=1e-5)
        with torch.no_grad():
            logits = torch.cat([model(**row).logits for row in test_rows])
            losses = torch.stack([model(**row).loss for row in test_rows]).numpy()
        at = result.dataset.sel(checkpoint=checkpoint.step)
        np.testing.assert_allclose(at["test_loss"].values, losses, rtol=1e-5)
        labels = [train.labels[i] for i in logits.argmax(1).tolist()]
        assert at["test_prediction"].values.tolist() == labels
        np.testing.assert_allclose(
            at["test_probability"].values, logits.softmax(1).amax(1).numpy(), rtol=1e-5
        )
    np.testing.assert_allclose(
        result.total().values, totals, rtol=1e-4, atol=1e-6 * abs(totals).max()
    )


@pytest.mark.parametrize(
    ("memory", "parts"),
    [
        ("80KB", "a part of the parameters:"),
        ("10KB", "a part of the test examples and the parameters:"),
    ],
)
def test_several_passes_give_the_same_scores(run, tmp_path, memory, parts):
    train, test = corpora()
    said: list[str] = []
    whole = attribute(run, train, test, tmp_path / "whole.zarr", config=AttributionConfig())
    small = AttributionConfig(memory=memory)
    cut = attribute(run, train, test, tmp_path / "cut.zarr", config=small, on_notice=said.append)
    assert any(f"each for {parts}" in notice for notice in said), said
    for name in ("influence", "test_gradient_norm", "train_gradient_norm", "test_loss"):
        difference = cut.dataset[name].values - whole.dataset[name].values
        assert abs(difference).max() < 1e-5, "several passes must score as one does"


def test_memory_that_fits_no_example_is_an_error(run, tmp_path):
    train, test = corpora()
    with pytest.raises(ConfigurationError, match="one test example for one parameter take"):
        attribute(run, train, test, tmp_path / "a.zarr", config=AttributionConfig(memory="1KB"))


def test_progress_counts_every_pair_of_checkpoint_and_example(run, tmp_path):
    train, test = corpora()
    seen = []
    attribute(
        run,
        train,
        test,
        tmp_path / "a.zarr",
        config=AttributionConfig(),
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (3 * len(train), 3 * len(train))
    assert seen == sorted(seen)


KILLED = """
    import sys
    from pathlib import Path
    import sprachbund.store.writer as store
    from sprachbund.attribution import AttributionConfig, attribute
    from sprachbund.runs import Run
    from test_attribution import corpora

    original = store.InfluenceWriter.create_or_resume
    def small_shards(*args, **options):
        return original(*args, **options, shard_size=4)
    store.InfluenceWriter.create_or_resume = small_shards
    write = store.InfluenceWriter.write
    def announced(self, shard, **values):
        write(self, shard, **values)
        print("shard", shard.checkpoint, shard.start, flush=True)
    store.InfluenceWriter.write = announced
    train, test = corpora()
    attribute(Run.open(sys.argv[1]), train, test, Path(sys.argv[2]), config=AttributionConfig())
"""


def _start(run: Run, path: Path) -> subprocess.Popen[str]:
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here / "gradients")])}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(run.path), str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _files(store: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(store)): file.read_bytes()
        for file in sorted(store.rglob("*"))
        if file.is_file()
    }


@pytest.mark.slow
def test_killed_at_any_shard_it_goes_on_without_recomputing_and_is_bit_identical(run, tmp_path):
    undisturbed = _start(run, tmp_path / "undisturbed.zarr")
    output, errors = undisturbed.communicate(timeout=120)
    assert undisturbed.returncode == 0, errors
    shards = output.splitlines()
    assert len(shards) == 18

    killed_path, written = tmp_path / "killed.zarr", []
    for stop_after in (1, 7, None):
        process = _start(run, killed_path)
        assert process.stdout is not None
        for count, line in enumerate(process.stdout, start=1):
            written.append(line.strip())
            if count == stop_after:
                time.sleep(0.002 * count)
                process.send_signal(signal.SIGKILL)
                break
        rest, errors = process.communicate(timeout=120)
        written += rest.splitlines()
        assert stop_after or process.returncode == 0, errors
    assert len(written) == len(set(written)), "a finished shard was computed again"
    assert _files(killed_path) == _files(tmp_path / "undisturbed.zarr")
