"""What the analysis of a study can be told."""

from pydantic import BaseModel, ConfigDict, Field


class AnalysisConfig(BaseModel):
    """The `analysis` section of a study file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(
        default=100,
        ge=1,
        description="How many training examples count as the top of a test example.",
    )
    examples: int = Field(
        default=10,
        ge=1,
        description="How many proponents and opponents of each test example the tables list.",
    )
