"""Which other mixes of languages are fine-tuned on."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sprachbund.data.languages import normalise
from sprachbund.errors import SprachbundError

Kind = Literal["factors", "leave_one_out", "pairs"]
Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class MixingConfig(BaseModel):
    """The other mixes of languages that `sprachbund mix` fine-tunes on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    factors: tuple[Factor, ...] = Field(
        default=(0.5, 1.0, 2.0, 4.0),
        description="Each language in turn has so many times its examples; 1, the study itself, is always there.",
    )
    languages: tuple[str, ...] = Field(
        default=(), description="The training languages that `factors` scales; all by default."
    )
    leave_one_out: bool = Field(default=True, description="Leave out each language in turn.")
    alone: bool = Field(default=True, description="Fine-tune on each language alone.")
    pairs: bool = Field(default=True, description="Fine-tune on every two languages.")
    attribute: tuple[Kind, ...] = Field(
        default=("factors",),
        description="The kinds of mix whose predictions are attributed too, for the own-language share.",
    )
    keep_checkpoints: bool = Field(
        default=False,
        description="Keep the checkpoints of every mix; without it they are deleted once they have been measured.",
    )

    @field_validator("factors", "languages", "attribute")
    @classmethod
    def _once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        for position, value in enumerate(values):
            if value in values[:position]:
                shown = f"{value:g}" if isinstance(value, float) else f'"{value}"'
                raise ValueError(f"{shown} is listed twice")
        return values

    @field_validator("languages", mode="after")
    @classmethod
    def _normalised(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(normalise(tag) for tag in tags)
        except SprachbundError as error:
            raise ValueError(str(error)) from error
