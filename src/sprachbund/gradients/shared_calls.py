"""Which calls of modules examples may share, and which tables a model may read directly: how each is read then."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sprachbund.gradients.calls import Call
from sprachbund.gradients.per_example import PerExampleGradient, RowGradient
from sprachbund.gradients.rules import Conv1DRule, EmbeddingRule, LayerNormRule, LinearRule
from sprachbund.gradients.shared import SharedResult
from sprachbund.gradients.sites import Site

# What examples share is followed through modules of these kinds.
_FOLLOWED = LinearRule | Conv1DRule | LayerNormRule
# Rows of a table that a model may read directly: positions, and not a vocabulary, all of which each example would get.
_LARGEST_READ = 4096


def result_of_call(
    site: Site,
    input: Tensor,
    kwargs: dict[str, Any],
    size: int,
    parent: SharedResult | None,
    *,
    is_certain: bool,
) -> SharedResult | None:
    """The result of a call as one for all examples, should it prove to be: of a lookup, or of what may be shared.

    `parent` is what the input was made of; where nothing that went into it is attributed, its single row tells.
    `is_certain`: so were all calls of this module before.
    """
    is_one = parent is not None or (size > 1 and input.shape[:1] == (1,))
    may_be = isinstance(site.rule, EmbeddingRule) or (is_one and isinstance(site.rule, _FOLLOWED))
    if not may_be:
        return None
    call = Call(site.module, tuple(site.names), (), kwargs, size, size)
    per_example = partial(site.rule.per_example_of_shared, call, input.detach())
    return SharedResult(per_example, parent, is_certain=is_certain)


def result_of_reading(table: Tensor) -> SharedResult:
    """A table that is read directly, as DeBERTa does: it is everybody's."""

    def per_example(sent: Tensor) -> dict[str, PerExampleGradient]:
        ids = torch.arange(len(table), device=table.device).expand(len(sent), -1)
        return {"weight": RowGradient(ids, sent, len(table), None)}

    return SharedResult(per_example, is_certain=True)


def tables_to_read(sites: Iterable[Site]) -> dict[int, Site]:
    """By the `id` of their tables, the embeddings that a model may read directly."""
    return {
        id(site.module.weight): site
        for site in sites
        if isinstance(site.rule, EmbeddingRule)
        and isinstance(site.module, nn.Embedding)
        and len(site.module.weight) <= _LARGEST_READ
    }
