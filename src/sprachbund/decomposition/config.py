"""Which checkpoints' influence is taken apart."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DecompositionConfig(BaseModel):
    """What a decomposition covers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoints: Literal["last", "all"] = Field(
        default="last",
        description="last: the last checkpoint alone; all: every one that counts in the total, at as many times the "
        "cost.",
    )
