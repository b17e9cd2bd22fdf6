"""Whose data does each language of a fine-tuned multilingual model rely on?

The names below are the public API. They are imported on first use, so that `sprachbund --help` need not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sprachbund.analysis.dynamics import own_language_share
    from sprachbund.analysis.sharing import expected_share, language_share
    from sprachbund.attribution import AttributionConfig, attribute
    from sprachbund.configuration import StudyConfig
    from sprachbund.data.corpus import Corpus
    from sprachbund.decomposition.build import decompose
    from sprachbund.decomposition.config import DecompositionConfig
    from sprachbund.decomposition.result import Decomposition
    from sprachbund.errors import SprachbundError, SprachbundWarning
    from sprachbund.finetuning import FinetuningConfig, finetune
    from sprachbund.gradients.pairwise import mean_influence, pairwise_influence
    from sprachbund.index import Index, IndexConfig, build_index
    from sprachbund.influence import Influence
    from sprachbund.influences import Influences
    from sprachbund.modeling import ModelConfig
    from sprachbund.runs import Checkpoint, LearningRateRecorder, Run
    from sprachbund.study import Study
    from sprachbund.study_file import read_study

_HOME = {
    "AttributionConfig": "attribution",
    "Checkpoint": "runs",
    "Corpus": "data.corpus",
    "Decomposition": "decomposition.result",
    "DecompositionConfig": "decomposition.config",
    "FinetuningConfig": "finetuning",
    "Index": "index",
    "IndexConfig": "index",
    "Influence": "influence",
    "Influences": "influences",
    "LearningRateRecorder": "runs",
    "ModelConfig": "modeling",
    "Run": "runs",
    "SprachbundError": "errors",
    "SprachbundWarning": "errors",
    "Study": "study",
    "StudyConfig": "configuration",
    "attribute": "attribution",
    "build_index": "index",
    "decompose": "decomposition.build",
    "expected_share": "analysis.sharing",
    "finetune": "finetuning",
    "language_share": "analysis.sharing",
    "mean_influence": "gradients.pairwise",
    "own_language_share": "analysis.dynamics",
    "pairwise_influence": "gradients.pairwise",
    "read_study": "study_file",
}

__all__ = [
    "AttributionConfig",
    "Checkpoint",
    "Corpus",
    "Decomposition",
    "DecompositionConfig",
    "FinetuningConfig",
    "Index",
    "IndexConfig",
    "Influence",
    "Influences",
    "LearningRateRecorder",
    "ModelConfig",
    "Run",
    "SprachbundError",
    "SprachbundWarning",
    "Study",
    "StudyConfig",
    "attribute",
    "build_index",
    "decompose",
    "expected_share",
    "finetune",
    "language_share",
    "mean_influence",
    "own_language_share",
    "pairwise_influence",
    "read_study",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
