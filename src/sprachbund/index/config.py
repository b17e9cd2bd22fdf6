"""How training gradients are compressed. The defaults come from the measurements in docs/performance.md."""

from pydantic import BaseModel, ConfigDict, Field


class IndexConfig(BaseModel):
    """The compression of an index."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sketch: int = Field(
        default=16_384,
        ge=64,
        description="Numbers of the random sketch: cosines below about 1/sqrt of it cannot be told from zero.",
    )
    dimension: int = Field(
        default=512,
        ge=1,
        description="Principal directions of the sketches that are kept of each training example.",
    )
    seed: int = Field(default=0, description="Of the random signs; the same on every machine.")
