"""The plan: counts that can be checked by hand, and nothing written."""

from pathlib import Path

from sprachbund import timing
from sprachbund.batching import Batcher
from sprachbund.modeling import encode, load_tokenizer
from sprachbund.planning import plan_study
from sprachbund.study import Study
from sprachbund.study_file import read_study
from test_study import run, study_file  # noqa: F401  (a fixture)


def test_a_plan_counts_steps_examples_and_bytes_and_writes_nothing(study_file):  # noqa: F811
    study = Study(read_study(study_file), study_file.parent / "out", base=study_file.parent)
    plan = plan_study(study)
    assert not (study_file.parent / "out").exists()
    by_name = {stage.name: stage for stage in plan.stages}
    assert list(by_name) == list(study.stages)
    assert "2 run(s) of 6 steps, accuracy on 12 examples" in by_name["finetune"].what
    assert (
        "12 training x 6 test examples at 3 checkpoints, 1 pass each" in by_name["attribute"].what
    )
    assert by_name["attribute"].disk_nbytes == 2 * 4 * 12 * 6 * 3
    assert all(
        stage.seconds > 0 for stage in plan.stages if stage.name in ("finetune", "attribute")
    )
    assert not any(stage.is_done for stage in plan.stages)
    attributed, total = plan.coverage.split()[0], plan.coverage.split()[2]
    assert attributed == total


def test_scoring_is_timed_on_batches_as_attribution_packs_them(study_file, monkeypatch):  # noqa: F811
    """One batch of texts of all lengths would be mostly padding, and its time far too long."""
    study = Study(
        read_study(study_file, ["attribution.batch_size=2"]),
        study_file.parent / "out",
        study_file.parent,
    )
    now, timed = [0.0], []

    def scored(_engine, _bank, batch):
        timed.append(tuple(batch["input_ids"].shape))
        now[0] += batch["input_ids"].numel()

    monkeypatch.setattr(timing, "score_batch", scored)
    monkeypatch.setattr(timing, "_now", lambda: now[0])
    seconds = timing.measure(study).scoring_seconds
    tokenizer = load_tokenizer(study.config.model.path)
    rows = encode(study.data.train, tokenizer, study.config.model.max_length)
    shapes = [tuple(b["input_ids"].shape) for _, b in Batcher(tokenizer, 4096, 2)(rows)]
    assert len(timed) == 4  # the first once more, as a warm-up
    assert set(timed) <= set(shapes)
    assert abs(seconds - sum(a * b for a, b in shapes) / len(rows)) < 0.25 * seconds


def test_a_plan_knows_what_is_done(study_file):  # noqa: F811
    study, _ = run(study_file)
    assert all(stage.is_done for stage in plan_study(study).stages)
    changed = Study(
        read_study(study_file, ["analysis.k=3"]), study.folder, base=Path(study_file.parent)
    )
    done = {stage.name: stage.is_done for stage in plan_study(changed).stages}
    assert done == {
        "data": True,
        "finetune": True,
        "attribute": True,
        "analyse": False,
        "report": False,
    }


def test_a_plan_tells_what_the_other_commands_would_do(study_file):  # noqa: F811
    more = ["removal.k=[2, 4]", "mixing.factors=[0.5]", "languages.train=[en, de]"]
    config = read_study(study_file, more)
    plan = plan_study(Study(config, study_file.parent / "out", base=study_file.parent))
    removal, mix = plan.further
    # Two languages by influence and three controls, five random draws; for two k.
    assert removal.what == "at most 26 retrainings without 2 or 4 examples"
    # Half of each language, and each alone; two seeds.
    assert mix.what == "8 runs of other mixes, 4 of them attributed"
    assert removal.seconds > 0
    assert mix.seconds > 0
    assert not removal.is_done
    assert not mix.is_done


def test_a_plan_says_why_another_command_cannot_be_done_and_plans_the_rest(study_file):  # noqa: F811
    config = read_study(study_file, ["analysis.k=7"])
    study = Study(config, study_file.parent / "out", base=study_file.parent)
    removal, mix = plan_study(study).further
    assert removal.seconds is None
    assert "not possible: removal.k: 250 of 12" in removal.what
    assert mix.seconds is None
    assert mix.what.startswith("not possible: mixing.attribute: the mix en-x0.5 has only 6")
