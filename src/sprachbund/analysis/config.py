"""What the analysis of a study can be told."""

from pydantic import BaseModel, ConfigDict, Field

LANG2VEC = "lang2vec"


class AnalysisConfig(BaseModel):
    """The `analysis` section of a study file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(
        default=100,
        ge=1,
        description="How many training examples count as the top of a test example.",
    )
    distances: str = Field(
        default="",
        description="Distances between languages, for the table `relations`: a CSV table, URIEL "
        "features as JSON, or the word `lang2vec`. Script and sub-words are compared without it.",
    )
    compare_with: str = Field(
        default="",
        description="Folder of another study with the same test examples, such as one that has a "
        "language more in training: how far both rely on the same examples of the other languages.",
    )
    examples: int = Field(
        default=10,
        ge=1,
        description="How many proponents and opponents of each test example the tables list.",
    )
