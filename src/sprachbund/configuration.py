"""The keys of a study file, and what must hold of them together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sprachbund.analysis.config import LANG2VEC, AnalysisConfig
from sprachbund.attribution import AttributionConfig
from sprachbund.data.config import DataConfig
from sprachbund.data.languages import normalise
from sprachbund.decomposition.config import DecompositionConfig
from sprachbund.errors import SprachbundError
from sprachbund.finetuning import FinetuningConfig
from sprachbund.index.config import IndexConfig
from sprachbund.mixing.config import MixingConfig
from sprachbund.modeling import ModelConfig
from sprachbund.validation.config import RemovalConfig

_NO_LENGTH = (
    "model.max_length: missing; give the tokens to which the texts of `runs` were cut in training"
)


class LanguagesConfig(BaseModel):
    """The languages of a study, as BCP-47 tags."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[str, ...] = Field(min_length=1, description="Languages to fine-tune on, jointly.")
    test: tuple[str, ...] = Field(
        default=(),
        description="Languages whose predictions are attributed, those of training by default; "
        "one that is not trained on is tested zero-shot.",
    )

    @field_validator("train", "test")
    @classmethod
    def _normalised(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        normal = tuple(_tag(tag) for tag in tags)
        twice = sorted({tag for tag in normal if normal.count(tag) > 1})
        if twice:
            raise ValueError(f'language "{twice[0]}" is listed twice')
        return normal

    @model_validator(mode="before")
    @classmethod
    def _test_as_train(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and not value.get("test"):
            return {**value, "test": value.get("train", ())}
        return value

    @property
    def all(self) -> tuple[str, ...]:
        """Training languages, then the other test languages."""
        return tuple(dict.fromkeys(self.train + self.test))


def _tag(tag: str) -> str:
    try:
        return normalise(tag)
    except SprachbundError as error:
        raise ValueError(str(error)) from error


class StudyConfig(BaseModel):
    """Everything a study is made of. Only model, data and languages have no default.

    With `runs` the study fine-tunes nothing: it attributes what runs of one's own predict.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = Field(
        description="The pre-trained model to fine-tune; with `runs` its `max_length` alone."
    )
    runs: tuple[str, ...] = Field(
        default=(),
        description="Runs of your own in place of a fine-tuning: output folders of the Trainer, one for each seed. "
        "See runs.md.",
    )
    data: DataConfig = Field(description="Where the labelled texts come from.")
    languages: LanguagesConfig = Field(description="Languages to train on and to test on.")
    train_per_language: int | dict[str, int] | Literal["all"] = Field(
        default=200,
        description="Training examples for each language: one number, or one for each language, or all that there "
        "are, as by default with `runs`.",
    )
    test_per_language: int = Field(
        default=10,
        ge=1,
        description="Test examples of each language whose predictions are attributed.",
    )
    evaluation_per_language: int | None = Field(
        default=None,
        ge=1,
        description="Test examples of each language for accuracy; all by default.",
    )
    seed: int = Field(default=0, ge=0, description="Decides which examples are drawn.")
    finetuning: FinetuningConfig = FinetuningConfig()
    attribution: AttributionConfig = AttributionConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    index: IndexConfig = IndexConfig()
    decomposition: DecompositionConfig = DecompositionConfig()
    removal: RemovalConfig = RemovalConfig()
    mixing: MixingConfig = MixingConfig()

    @model_validator(mode="before")
    @classmethod
    def _of_runs(cls, value: Any) -> Any:
        """A run has seen all of its training data: a sample of it would be another question."""
        if not isinstance(value, Mapping) or "runs" not in value:
            return value
        runs = value["runs"]
        if not runs:
            raise ValueError(
                "runs: names no run; give the output folder of a Trainer, or leave it out"
            )
        if "model" not in value:
            raise ValueError(_NO_LENGTH)
        return {
            "train_per_language": "all",
            **value,
            "runs": (runs,) if isinstance(runs, str) else runs,
        }

    @model_validator(mode="after")
    def _fine_tuned_once(self) -> Self:
        """Here, or before the study."""
        if not self.runs:
            if not self.model.path:
                raise ValueError("model.path: missing; the study needs it")
            return self
        if "finetuning" in self.model_fields_set:
            raise ValueError("finetuning: the study's `runs` are fine-tuned already; leave it out")
        if self.model.num_hidden_layers is not None:
            raise ValueError(
                "model.num_hidden_layers: the layers are those of `runs`; leave it out"
            )
        if "max_length" not in self.model.model_fields_set:
            raise ValueError(_NO_LENGTH)
        return self

    @field_validator("train_per_language")
    @classmethod
    def _positive(
        cls, value: int | dict[str, int] | Literal["all"]
    ) -> int | dict[str, int] | Literal["all"]:
        if value == "all":
            return value
        counts = value if isinstance(value, dict) else {"": value}
        for tag, count in counts.items():
            if count < 1:
                raise ValueError(
                    f"found {count}{f' for {tag}' if tag else ''}; expected at least 1"
                )
        return {_tag(tag): n for tag, n in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _counts_cover_the_languages(self) -> "StudyConfig":
        if isinstance(self.train_per_language, dict):
            given, wanted = set(self.train_per_language), set(self.languages.train)
            if given != wanted:
                odd = sorted(given ^ wanted)[0]
                state = "is no training language" if odd in given else "has no count"
                raise ValueError(f'train_per_language: "{odd}" {state}')
        return self

    @model_validator(mode="after")
    def _mixing_scales_training_languages(self) -> "StudyConfig":
        for language in self.mixing.languages:
            if language not in self.languages.train:
                raise ValueError(f'mixing.languages: "{language}" is no training language')
        return self

    @model_validator(mode="after")
    def _removal_checks_runs_of_the_study(self) -> "StudyConfig":
        for seed in self.removal.seeds:
            if seed not in self.seeds:
                known = ", ".join(map(str, self.seeds))
                raise ValueError(f"removal.seeds: {seed} is not one of finetuning.seeds, {known}")
        return self

    @property
    def seeds(self) -> tuple[int, ...]:
        """One for each run; runs of one's own are counted from 0, in the order given."""
        return tuple(range(len(self.runs))) if self.runs else self.finetuning.seeds

    def anchored(self, base: Path) -> "StudyConfig":
        """The same study with absolute paths, those of the data starting at `base`, to be run from anywhere."""
        model, removal = self.model, self.removal
        if Path(model.path).is_dir():
            model = model.model_copy(update={"path": str(Path(model.path).resolve())})
        if removal.embedding_model and Path(removal.embedding_model).is_dir():
            path = str(Path(removal.embedding_model).resolve())
            removal = removal.model_copy(update={"embedding_model": path})
        data, update = self.data, dict[str, object]()
        for name in ("train", "test"):
            part = getattr(data, name)
            if part is not None and part.path:
                path = str((base / part.path).resolve())
                update[name] = part.model_copy(update={"path": path})
        if data.hub and (base / data.hub).is_dir():
            update["hub"] = str((base / data.hub).resolve())
        analysis = self.analysis
        if analysis.distances not in ("", LANG2VEC):
            path = str((base / analysis.distances).resolve())
            analysis = analysis.model_copy(update={"distances": path})
        if analysis.compare_with:
            path = str((base / analysis.compare_with).resolve())
            analysis = analysis.model_copy(update={"compare_with": path})
        return self.model_copy(
            update={
                "model": model,
                "runs": tuple(map(str, self.run_paths(base))),
                "data": data.model_copy(update=update),
                "analysis": analysis,
                "removal": removal,
            }
        )

    def run_paths(self, base: Path) -> tuple[Path, ...]:
        """The folders of the runs of one's own; relative ones start at `base`."""
        return tuple((base / Path(run).expanduser()).resolve() for run in self.runs)

    def as_yaml(self) -> str:
        """The study file with every default written out."""
        unused = {"finetuning"} if self.runs else {"runs"}
        content = self.model_dump(mode="json", exclude_none=True, exclude=unused)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
