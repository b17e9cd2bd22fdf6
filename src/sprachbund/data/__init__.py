"""Corpora: where rows come from, what they must look like, and how they are sampled."""

from sprachbund.data.config import DataConfig, SplitConfig
from sprachbund.data.corpus import Corpus
from sprachbund.data.languages import Language, describe, normalise
from sprachbund.data.loading import load_corpus
from sprachbund.data.sampling import sample

__all__ = [
    "Corpus",
    "DataConfig",
    "Language",
    "SplitConfig",
    "describe",
    "load_corpus",
    "normalise",
    "sample",
]
