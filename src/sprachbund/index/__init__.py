"""Compressed gradients of a run's training examples, for many queries: build once, search at memory bandwidth."""

from sprachbund.index.build import build_index
from sprachbund.index.config import IndexConfig
from sprachbund.index.index import Index

__all__ = ["Index", "IndexConfig", "build_index"]
