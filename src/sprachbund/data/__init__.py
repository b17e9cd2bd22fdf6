"""Corpora: where rows come from, what they must look like, and how they are sampled."""

from sprachbund.data.corpus import Corpus
from sprachbund.data.languages import Language, describe, normalise

__all__ = ["Corpus", "Language", "describe", "normalise"]
