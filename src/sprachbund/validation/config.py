"""What the removal check of a study can be told."""

from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sprachbund.finetuning import Seed

Control = Literal["random", "random-same", "embedding", "bm25"]
T = TypeVar("T")
Of = Literal["language", "example"]


class RemovalConfig(BaseModel):
    """The `removal` section of a study file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: tuple[int, ...] = Field(
        default=(50, 100, 250),
        min_length=1,
        description="How many training examples are removed; one round of retrainings for each.",
    )
    of: Of = Field(
        default="language",
        description="language: the examples that speak most for all test examples of a language "
        "together, one retraining for each language; example: one for each test example.",
    )
    examples_per_language: int = Field(
        default=3,
        ge=1,
        description="With `of: example`: so many test examples of each language, from the first.",
    )
    seeds: tuple[Seed, ...] = Field(
        default=(),
        description="Runs to check, of those of `finetuning.seeds`; the first by default.",
    )
    controls: tuple[Control, ...] = Field(
        default=("random", "random-same", "embedding", "bm25"),
        min_length=1,
        description="What is removed instead: random examples; random ones of the same languages and "
        "labels as the proponents; the most similar by sentence embedding; by BM25.",
    )
    random_draws: int = Field(
        default=5,
        ge=1,
        description="Draws of the control `random`, shared by all languages. How much they differ is "
        "the noise of retraining.",
    )
    seed: int = Field(default=0, ge=0, description="Of the random draws.")
    embedding_model: str | None = Field(
        default=None,
        min_length=1,
        description="Model of the sentence embeddings, a hub name or a local folder; by default the "
        "pre-trained model of the study.",
    )

    @field_validator("k")
    @classmethod
    def _ascending(cls, ks: tuple[int, ...]) -> tuple[int, ...]:
        if min(ks) < 1:
            raise ValueError(f"found {min(ks)}; expected at least 1")
        return tuple(sorted(_once(ks)))

    @field_validator("seeds", "controls")
    @classmethod
    def _listed_once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        return _once(values)


def _once(values: tuple[T, ...]) -> tuple[T, ...]:
    for position, value in enumerate(values):
        if value in values[:position]:
            raise ValueError(f"{value} is listed twice")
    return values
