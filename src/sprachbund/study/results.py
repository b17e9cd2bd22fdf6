"""Whether influence results are those of a study as its file is now: tables of others would say what is not so."""

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprachbund.errors import SprachbundWarning, StudyError
from sprachbund.freshness import model_fingerprint
from sprachbund.influence import Influence

if TYPE_CHECKING:
    from sprachbund.study.stages import Study

_MOST_NAMED = 3
_COMPARED_ATTRIBUTION = ("method", "bank_dtype")  # the others decide how fast it goes


def check_results(study: "Study", influences: Mapping[int, Influence]) -> None:
    """By their own record, not by files' times: results may have been copied from where they were made.

    Raises: StudyError if settings, training or test examples are not those of the study file.
    """
    of_runs: dict[str, int] = {}
    for seed, influence in influences.items():
        run = json.dumps(influence.provenance.get("checkpoints", seed))
        if of_runs.setdefault(run, seed) != seed:
            raise StudyError(
                f"{study.run_path(of_runs[run])} and {study.run_path(seed)} are one run: as two seeds they would make "
                "every deviation between seeds too small; give each run once"
            )
        differing = [*_settings(study, seed, influence), *_examples(study, influence)]
        if influence.labels != study.data.train.labels:
            differing.append("the labels, or their order, are others")
        if differing:
            more = f" and {len(differing) - _MOST_NAMED} more" * (len(differing) > _MOST_NAMED)
            raise StudyError(
                f"{study.influence_path(seed)}: not of this study file: {'; '.join(differing[:_MOST_NAMED])}{more}. "
                f"Use the file that it was made with, {study.folder / 'study.yaml'}, or run the study of this one "
                "(`sprachbund run`, into another folder with -o if both are to be kept)"
            )


def warn_of_others(study: "Study") -> None:
    """Results of seeds that the study file no longer names lie beside its own."""
    known = {study.influence_path(seed) for seed in study.config.seeds}
    others = sorted({*(study.folder / "influence").glob("seed-*.zarr")} - known)
    if others:
        warnings.warn(
            f"{', '.join(map(str, others))}: of a seed that the study file does not name. The tables leave it out, "
            "where `Influences.open` of the folder would count it; move it away",
            SprachbundWarning,
            stacklevel=3,
        )


def described(study: "Study", seed: int) -> dict[str, Any]:
    """Model and making of a seed's run, as an influence result records them."""
    model = study.config.model.model_dump(mode="json")
    if study.config.runs:  # by its name: what is in it has hashes of its own, wherever it lies
        del model["path"]
        return {"model": model, "run": study.run_path(seed).name}
    making = study.config.finetuning.model_dump(mode="json", exclude={"seeds"})
    return {"model": model, "finetuning": making}


def _settings(study: "Study", seed: int, influence: Influence) -> Iterator[str]:
    """A setting that the record lacks, being newer, is not compared."""
    asked, record = described(study, seed), influence.provenance
    runs = asked.pop("run", ""), record.get("run", "")
    if len({*runs}) > 1:
        by_file, found = (f"the run {name}" if name else "a fine-tuning" for name in runs)
        yield f"it is of {by_file} by the file, of {found} in the result"
    asked["attribution"] = study.config.attribution.model_dump(
        mode="json", include={*_COMPARED_ATTRIBUTION}
    )
    for section, values in asked.items():
        found = record.get(section, {})
        for name, value in values.items():
            if name not in found:
                continue
            if name == "path":
                if not _is_same_model(study, found[name], value):
                    yield f"model is {value} in the file, {found[name]} in the result"
            elif found[name] != value:
                yield f"{section}.{name} is {value} in the file, {found[name]} in the result"


def _is_same_model(study: "Study", kept_path: str, path: str) -> bool:
    """By its name, or by the files that the runs began from: it may have been moved, or be another machine's."""
    if Path(kept_path).name == Path(path).name:
        return True
    records = [study.run_path(seed) / "run.json" for seed in study.config.seeds]
    try:
        kept = {json.loads(record.read_text(encoding="utf-8"))["model files"] for record in records}
    except (OSError, ValueError, KeyError):
        return False
    return kept == {model_fingerprint(path)}


def _examples(study: "Study", influence: Influence) -> Iterator[str]:
    for split, corpus in (("train", study.data.train), ("test", study.data.test)):
        there = influence.dataset.sizes[split]
        if len(corpus) != there:
            yield f"{len(corpus):,} {split} examples by the file, {there:,} in the result"
            continue
        columns = {"id": split} | {c: f"{split}_{c}" for c in corpus.frame if c != "id"}
        for column, name in columns.items():
            if name not in influence.dataset.coords:
                continue
            pairs = zip(corpus.frame[column], influence.dataset[name].values, strict=True)
            found = next(
                ((n, *pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1]), None
            )
            if found is not None:
                number, now, kept = found
                yield (
                    f"{column} of {split} example {number} is {now!r:.60} by the file, {str(kept)!r:.60} in the result"
                )
                break
