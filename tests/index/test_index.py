"""The index of a run: its estimates against exact scores, its top k, and what happens when it is cut short."""

import shutil
from dataclasses import dataclass

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import oracle
from sprachbund.analysis.config import AnalysisConfig
from sprachbund.configuration import LanguagesConfig, StudyConfig
from sprachbund.data.config import DataConfig
from sprachbund.embedded.model import unpack_model
from sprachbund.errors import DataError, InfluenceError, StudyError
from sprachbund.finetuning import FinetuningConfig
from sprachbund.folder_lock import only_process
from sprachbund.index import Index, IndexConfig, build, build_index
from sprachbund.modeling import ModelConfig, collate, encode, load_tokenizer
from sprachbund.runs import Run
from sprachbund.study import Study

CONFIG = IndexConfig(sketch=4096, dimension=64)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """A pre-trained model's run on real text: the gradients of a random one are all parallel."""
    folder = tmp_path_factory.mktemp("study")
    config = StudyConfig(
        model=ModelConfig(path=str(unpack_model(folder / "model")), max_length=32),
        data=DataConfig.model_validate({"embedded": "emoji"}),
        languages=LanguagesConfig(train=("en", "de", "ru"), test=("en", "ru")),
        train_per_language=20,
        test_per_language=3,
        evaluation_per_language=3,
        finetuning=FinetuningConfig(epochs=2, learning_rate=5e-4, batch_size=16),
        analysis=AnalysisConfig(k=10),
        index=CONFIG,
    )
    study = Study(config, folder, base=folder)
    study.prepare()
    study.finetune()
    return study


@pytest.fixture(scope="module")
def run(study) -> Run:
    return Run.open(study.folder / "runs" / "seed-0")


@pytest.fixture(scope="module")
def index(study) -> Index:
    study.index()
    assert study.is_fresh("index")
    return Index.open(study.index_path(0))


@pytest.fixture(scope="module")
def queries(study, run) -> dict[str, torch.Tensor]:
    tokenizer = load_tokenizer(run.checkpoints[-1].path)
    return collate(encode(study.data.test, tokenizer, 32), tokenizer)


@dataclass(frozen=True)
class Truth:
    """Exact inner products of queries and training examples at the last checkpoint, and products of their norms."""

    dot: torch.Tensor
    scale: torch.Tensor


@pytest.fixture(scope="module")
def truth(run, index, queries) -> Truth:
    path = run.checkpoints[-1].path
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    tokenizer = load_tokenizer(path)
    train = collate(encode(index.train, tokenizer, 32), tokenizer)
    test_MP = oracle.gradients(model, [queries]).float()
    train_NP = oracle.gradients(model, [train]).float()
    scale = test_MP.norm(dim=1)[:, None] * train_NP.norm(dim=1)[None, :]
    return Truth((test_MP @ train_NP.T).double(), scale.double())


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_estimates_are_off_by_about_the_resolvable_cosine(index, queries, truth, similarity):
    found = index.query(queries, similarity=similarity).double()
    found = found if similarity == "cosine" else found / truth.scale
    error = found - truth.dot / truth.scale
    assert index.resolvable_cosine == pytest.approx(1 / 64, rel=1e-3), (
        "64 directions leave out nothing of 60"
    )
    assert float(error.square().mean().sqrt()) < 1.6 * index.resolvable_cosine
    assert float((truth.dot / truth.scale).std()) > 5 * index.resolvable_cosine, (
        "or it says nothing"
    )


def test_what_few_directions_leave_out_counts_in_the_resolvable_cosine(
    run, index, queries, truth, tmp_path
):
    config = IndexConfig(sketch=4096, dimension=4)
    few = build_index(run, index.train, tmp_path, config=config, max_length=32)
    whole_NR = index.at(index.steps[-1]).vectors_NR.double()
    energy = torch.linalg.svdvals(whole_NR).square() / len(whole_NR)
    left_out = 1 - float(energy[:4].sum())
    assert left_out > 0.05, "or nothing is tested"
    assert few.resolvable_cosine == pytest.approx((1 / 4096 + left_out**2) ** 0.5, rel=0.02)
    error = few.query(queries).double() - truth.dot / truth.scale
    assert float(error.square().mean().sqrt()) < 1.6 * few.resolvable_cosine


def test_texts_become_a_batch_as_in_training(index, study, queries):
    texts, labels = (study.data.test.frame[name].tolist() for name in ("text", "label"))
    found = index.batch(texts, labels)
    assert found.keys() == queries.keys()
    for name, value in queries.items():
        torch.testing.assert_close(found[name], value)
    path = Run.open(study.run_path(0)).checkpoints[0].path
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    predicted = index.batch(texts, step=0)["labels"]
    assert predicted.tolist() == model(**queries).logits.argmax(1).tolist()
    with pytest.raises(DataError, match=r"queries, row 1: label .* is not one of"):
        index.batch(["a text"], ["no class"])


def test_every_checkpoint_can_be_asked(index, queries):
    estimates = [index.query(queries, step=step) for step in index.steps]
    assert len(estimates) == 3
    assert not torch.allclose(estimates[0], estimates[2])


def test_the_top_k_is_the_exact_one_with_exact_scores(index, queries, truth):
    table = index.top_k(queries, k=3)
    for query, rows in table.groupby("query"):
        scores, positions = (truth.dot / truth.scale)[query].topk(3)
        assert rows["id"].tolist() == index.train.frame["id"].iloc[positions.tolist()].tolist()
        assert rows["score"].tolist() == pytest.approx(scores.tolist(), rel=1e-4)
        assert rows["rank"].tolist() == [1, 2, 3]


def test_a_build_that_was_killed_goes_on_where_it_stopped(run, index, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_SHARD", 25)
    whole = build_index(run, index.train, tmp_path / "whole", config=CONFIG, max_length=32)
    done = []

    def stop_at_the_third(engine, sketch, batcher, rows, original=build._sketch_shard):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(len(rows))
        return original(engine, sketch, batcher, rows)

    with monkeypatch.context() as patch:
        patch.setattr(build, "_sketch_shard", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            build_index(run, index.train, tmp_path / "cut", config=CONFIG, max_length=32)
    with pytest.raises(StudyError, match="missing or damaged"):
        Index.open(tmp_path / "cut")
    computed = []

    def count(engine, sketch, batcher, rows, original=build._sketch_shard):
        computed.append(len(rows))
        return original(engine, sketch, batcher, rows)

    with monkeypatch.context() as patch:
        patch.setattr(build, "_sketch_shard", count)
        again = build_index(run, index.train, tmp_path / "cut", config=CONFIG, max_length=32)
    assert sum(computed) + sum(done) == len(again.train) * len(again.steps)
    for step in whole.steps:
        assert torch.equal(again.at(step).vectors_NR, whole.at(step).vectors_NR)
    assert not list((tmp_path / "cut").rglob("sketch-*"))


def test_progress_ends_at_every_example_of_every_checkpoint(run, index, tmp_path):
    seen = []
    build_index(
        run,
        index.train,
        tmp_path,
        config=CONFIG,
        max_length=32,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] == len(index.train) * 3


def test_another_compression_in_the_same_folder_is_refused(run, index):
    with pytest.raises(StudyError, match="holds an index of another run, data or compression"):
        build_index(
            run,
            index.train,
            index.path,
            config=IndexConfig(sketch=4096, dimension=32),
            max_length=32,
        )


def test_a_checkpoint_that_was_replaced_is_not_asked(study, queries, tmp_path):
    run_folder, index_folder = tmp_path / "run", tmp_path / "index"
    shutil.copytree(study.run_path(0), run_folder)
    build_index(Run.open(run_folder), study.data.train.take(range(6)), index_folder, config=CONFIG)
    last = sorted(run_folder.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))[-1]
    assert Index.open(index_folder).query(queries).shape[1] == 6
    shutil.copyfile(run_folder / "checkpoint-0/model.safetensors", last / "model.safetensors")
    with pytest.raises(StudyError, match=r"not the checkpoint that .* was made from"):
        Index.open(index_folder).query(queries)


def test_a_damaged_file_is_named(run, index, tmp_path):
    built = build_index(run, index.train, tmp_path, config=CONFIG, max_length=32)
    path = tmp_path / f"step-{built.steps[0]}" / "vectors.npy"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StudyError, match=r"step-0/vectors\.npy: missing or damaged"):
        Index.open(tmp_path).at(built.steps[0])


def test_a_folder_without_index_says_how_to_build_one(tmp_path):
    with pytest.raises(StudyError, match="is not an index; build one with `sprachbund index"):
        Index.open(tmp_path)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda index, queries: index.query(queries, step=1), "step 1 has no checkpoint"),
        (lambda index, queries: index.top_k(queries, k=10_000), "k is 10000; expected 1 to"),
    ],
)
def test_impossible_questions_are_named(index, queries, ask, message):
    with pytest.raises(InfluenceError, match=message):
        ask(index, queries)


def test_a_second_process_is_turned_away(run, index, tmp_path):
    """It would delete the sketches that the first is reading."""
    with (
        only_process(tmp_path / "index"),
        pytest.raises(StudyError, match="is writing here; wait until it has ended"),
    ):
        build_index(run, index.train, tmp_path / "index", config=CONFIG, max_length=32)
    assert not (tmp_path / "index").exists()


def test_an_index_of_an_older_format_is_built_again(study, run, tmp_path):
    """Its sketches would be compared with those of another map."""
    index = build_index(run, study.data.train, tmp_path / "i", config=CONFIG, max_length=32)
    about = index.path / "index.json"
    newer = about.read_text(encoding="utf-8")
    about.write_text(newer.replace('"format": 2', '"format": 1'), encoding="utf-8")
    kept = next(index.path.glob("step-*")) / "vectors.npy"
    before = kept.stat().st_mtime_ns
    with pytest.raises(StudyError, match="format 1, expected 2; build the index again"):
        Index.open(index.path)
    build_index(run, study.data.train, tmp_path / "i", config=CONFIG, max_length=32)
    assert about.read_text(encoding="utf-8") == newer
    assert kept.stat().st_mtime_ns > before
