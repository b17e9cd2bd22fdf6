"""What a study will do, how long that will take and what it will need, measured on a batch before anything is begun."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sprachbund.errors import ConfigurationError
from sprachbund.finetuning import steps_of_epoch
from sprachbund.mixing.mixing import Mixing
from sprachbund.runs import Run
from sprachbund.study import Study
from sprachbund.study.given_runs import check_fine_tunes
from sprachbund.timing import Measured, measure
from sprachbund.validation.removal import check_k
from sprachbund.validation.selection import most_retrainings


@dataclass(frozen=True)
class StagePlan:
    """One stage: what it does, what it costs, and whether it is done already.

    `seconds` is None where the stage cannot be done; `what` then says why.
    """

    name: str
    what: str
    seconds: float | None
    disk_nbytes: int
    is_done: bool


@dataclass(frozen=True)
class Plan:
    """The stages of a study with their costs, and the most memory any of them takes.

    `further` are what other commands would do with the same study: `sprachbund removal` and `mix`.
    """

    stages: tuple[StagePlan, ...]
    further: tuple[StagePlan, ...]
    memory_nbytes: int
    passes: int
    coverage: str


def plan_study(study: Study) -> Plan:
    """Load the model and the data, time one training step and one scored batch, and reckon up the rest.

    Writes nothing. Raises: what the stages raise for data or a model that they cannot use.
    """
    measured = measure(study)
    stages = (
        StagePlan("data", _data_sentence(study), 0.0, 0, study.is_fresh("data")),
        _finetuning_plan(study, measured),
        _attribution_plan(study, measured),
        StagePlan(
            "analyse", f"tables, k = {study.config.analysis.k}", 0.0, 0, study.is_fresh("analyse")
        ),
        StagePlan("report", "the page and its figures", 0.0, 0, study.is_fresh("report")),
    )
    memory = 4 * measured.weights_nbytes + measured.bank_nbytes
    if measured.passes > 1:  # their inner products add up, in float64
        memory += 8 * len(study.data.train) * len(study.data.test)
    further = _removal_plan(study, measured), _mixing_plan(study, measured)
    return Plan(stages, further, memory, measured.passes, measured.coverage)


def _finetuning_plan(study: Study, measured: Measured) -> StagePlan:
    config, examples = study.config.finetuning, len(study.data.evaluation)
    if study.config.runs:
        return StagePlan(
            "finetune",
            f"{len(study.config.runs)} run(s) given; accuracy on {examples:,} examples",
            measured.forward_seconds * examples * sum(_checkpoints(study)),
            0,
            study.is_fresh("finetune"),
        )
    seeds, epochs = len(config.seeds), config.epochs
    batches = _batches(study, len(study.data.train))
    steps = epochs * steps_of_epoch(config, len(study.data.train))
    evaluation = measured.forward_seconds * examples * (epochs + 1)
    return StagePlan(
        "finetune",
        f"{seeds} run(s) of {steps} steps, accuracy on {examples:,} examples",
        seeds * (measured.step_seconds * batches + evaluation),
        seeds * measured.weights_nbytes * (3 * epochs + 1),
        study.is_fresh("finetune"),
    )


def _attribution_plan(study: Study, measured: Measured) -> StagePlan:
    data, passes, checkpoints = study.data, measured.passes, _checkpoints(study)
    each = " or ".join(map(str, sorted(set(checkpoints))))
    return StagePlan(
        "attribute",
        f"{len(data.train):,} training x {len(data.test):,} test examples at {each} checkpoints, "
        f"{passes} pass{'es' * (passes > 1)} each",
        sum(checkpoints) * _checkpoint_seconds(measured, len(data.train)),
        sum(checkpoints) * 4 * len(data.train) * len(data.test),
        study.is_fresh("attribute"),
    )


def _removal_plan(study: Study, measured: Measured) -> StagePlan:
    config, train, test = study.config.removal, study.data.train, study.data.test
    try:
        check_fine_tunes(study.config, "removal")
        check_k(config.k, len(train))
    except ConfigurationError as error:
        return StagePlan("removal", f"not possible: {error}", None, 0, False)
    count = most_retrainings(test, config)
    batches = sum(_batches(study, len(train) - k) for k in config.k) / len(config.k)
    each = measured.step_seconds * batches + measured.forward_seconds * len(test)
    what = f"at most {count} retrainings without {_listed(config.k)} examples"
    return StagePlan("removal", what, count * each, 0, study.is_fresh("removal"))


def _mixing_plan(study: Study, measured: Measured) -> StagePlan:
    try:
        runs = Mixing(study).runs
    except ConfigurationError as error:
        return StagePlan("mix", f"not possible: {error}", None, 0, False)
    measuring, seconds = len(study.data.evaluation), 0.0  # the last checkpoint alone
    for run in runs:
        n_train = run.mix.n_train
        seconds += measured.step_seconds * _batches(study, n_train)
        seconds += measured.forward_seconds * measuring
        if run.is_attributed:
            checkpoints = study.config.finetuning.epochs + 1
            seconds += checkpoints * _checkpoint_seconds(measured, n_train)
    attributed = sum(run.is_attributed for run in runs)
    what = f"{len(runs)} runs of other mixes, {attributed} of them attributed"
    return StagePlan("mix", what, seconds, 0, all(run.is_done for run in runs))


def _batches(study: Study, n_train: int) -> int:
    """Batches of one run with so many training examples."""
    config = study.config.finetuning
    return math.ceil(n_train / config.batch_size) * config.epochs


def _checkpoints(study: Study) -> list[int]:
    """The number of checkpoints of each run."""
    config = study.config
    if not config.runs:
        return [config.finetuning.epochs + 1] * len(config.seeds)
    return [len(Run.open(study.run_path(seed)).checkpoints) for seed in config.seeds]


def _checkpoint_seconds(measured: Measured, n_train: int) -> float:
    """Of the attribution of one checkpoint to so many training examples."""
    return measured.passes * (measured.filling_seconds + measured.scoring_seconds * n_train)


def _listed(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last


def _data_sentence(study: Study) -> str:
    languages = study.config.languages
    zero_shot = [tag for tag in languages.test if tag not in languages.train]
    extra = f", zero-shot {' '.join(zero_shot)}" if zero_shot else ""
    return f"train on {' '.join(languages.train)}{extra}"
