"""The `data:` section of a study: where training and test rows come from."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sprachbund.data.presets import PRESETS
from sprachbund.data.records import Value
from sprachbund.data.validation import COLUMNS, SPLITS

Columns = dict[str, str]
Constants = dict[str, Value]
Where = dict[str, Value | list[Value]]

_COLUMNS: Any = Field(
    default={},
    description="Our field: the file's column, e.g. {text: premise, text_pair: hypothesis, item: id}. Fields that "
    "are not named here are taken from the column of the same name.",
)
_WHERE: Any = Field(
    default={},
    description="Keep only rows with these values, e.g. {split: train} or {genre: [fiction, travel]}.",
)
_CONSTANTS: Any = Field(
    default={},
    description="Fields with one value in all rows, e.g. {language: en} for a file of one language.",
)


class SplitConfig(BaseModel):
    """Where the rows of one split are; `columns`, `where` and `constants` add to those of the whole section."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        default="",
        description="A file (.jsonl, .csv, .tsv, .parquet, each also .gz), relative to the study file. With "
        "{language} in it, one file per language: xnli/dev.{language}.jsonl.gz.",
    )
    split: str = Field(default="", description="With `hub`: the name of the data set's split.")
    columns: Columns = _COLUMNS
    where: Where = _WHERE
    constants: Constants = _CONSTANTS


class DataConfig(BaseModel):
    """Training and test rows: from files (`train`, `test`), a data set (`hub`), or the package (`embedded`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: SplitConfig | None = Field(
        default=None,
        description="The training rows: the path of a file, or with `hub` the name of a split (by default train), "
        "or a mapping of path or split, columns, where, constants.",
    )
    test: SplitConfig | None = Field(
        default=None,
        description="The test rows, in the same way as `train` (by default split test).",
    )
    task: Literal["xnli", "paws-x", "marc"] | None = Field(
        default=None,
        description="The rows are those of a published task: its field names, labels and known flaws are "
        "taken care of. Without train and test, read from the Hugging Face hub.",
    )
    binary: bool = Field(
        default=False, description="With task xnli: two classes, entailment and not_entailment."
    )
    hub: str = Field(
        default="",
        description="A data set for `datasets`: an id on the Hugging Face hub or a local folder, also one "
        "written by save_to_disk.",
    )
    subset: str = Field(
        default="",
        description="With `hub`: the data set's configuration; {language} in it stands for one per language.",
    )
    revision: str = Field(
        default="", description="With `hub`: a commit, tag or branch, to pin the data for good."
    )
    embedded: Literal["emoji"] | None = Field(
        default=None, description="Data that comes with the package: emoji names in 14 languages."
    )
    columns: Columns = _COLUMNS
    where: Where = _WHERE
    constants: Constants = _CONSTANTS
    labels: list[str] = Field(
        default=[],
        description="The label names in class order, by default the training rows' labels, sorted.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """A bare string under train or test names a split of the data set, or without one a file."""
        if not isinstance(value, dict):
            return value
        meaning = "split" if value.get("hub") else "path"
        texts = {name: value[name] for name in SPLITS if isinstance(value.get(name), str)}
        return value | {name: {meaning: text} for name, text in texts.items()}

    @field_validator("labels", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return [str(label) for label in value] if isinstance(value, list) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = {
            name
            for name in ("train", "test", "task", "hub")
            if getattr(self, name) not in (None, "")
        }
        if self.embedded and given:
            raise ValueError(f"embedded stands alone, but {', '.join(sorted(given))} is given too")
        if not self.embedded and not given:
            raise ValueError("give train and test (files), or hub, task or embedded")
        if self.is_hub and any(part is not None and part.path for part in (self.train, self.test)):
            raise ValueError(
                "path belongs with files, but hub is given; name a split of the data set"
            )
        if not self.is_hub and not self.embedded:
            self._check_files()
        if self.subset and not self.is_hub:
            raise ValueError("subset belongs with hub, which is not given")
        if self.binary and self.task != "xnli":
            raise ValueError("binary belongs with task xnli only")
        if self.labels and self.task:
            raise ValueError("labels are those of the task; leave labels out")
        self._check_columns()
        return self

    def _check_files(self) -> None:
        for name in SPLITS:
            part = getattr(self, name)
            if part is None:
                raise ValueError(
                    f"{name} is missing: give the path of a file for train and for test"
                )
            if part.split:
                raise ValueError(
                    f"{name}: split belongs with hub, which is not given; to choose rows use where"
                )
            if not part.path:
                raise ValueError(f"{name}: path is missing")
        if self.train == self.test:
            raise ValueError(
                "train and test read the same rows; give different files, or a where to each"
            )

    def _check_columns(self) -> None:
        known = PRESETS[self.preset_name].fields if self.task else COLUMNS[:-1]
        for part in (self, self.train, self.test):
            for field in (*part.columns, *part.constants) if part else ():
                if field not in known:
                    raise ValueError(
                        f'"{field}" is not a field of the corpus; fields: {", ".join(known)}'
                    )

    @property
    def is_hub(self) -> bool:
        """Whether rows are read through `datasets`."""
        return bool(self.hub) or (
            self.task is not None and self.train is None and self.test is None
        )

    @property
    def preset_name(self) -> str:
        """Key of the task's preset; "" without a task."""
        return f"{self.task}-binary" if self.binary else (self.task or "")
