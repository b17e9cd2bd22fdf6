"""One rule for each kind of module: from its input and output gradient to per-example gradients.

A rule serves a module only if the module runs the very `forward` that the rule was written for. To support another
kind, subclass `Rule` and name the module type; nothing else changes.
"""

from abc import ABC, abstractmethod
from inspect import getattr_static
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sprachbund.gradients.per_example import (
    DenseGradient,
    OuterGradient,
    PerExampleGradient,
    RowGradient,
)


def _tokens(tensor: Tensor) -> Tensor:
    """Fold everything between the batch and the features into one token axis: [B, T, D]."""
    return tensor.unsqueeze(1) if tensor.dim() == 2 else tensor.flatten(1, -2)


class Rule(ABC):
    """Per-example gradients of one kind of module."""

    registry: ClassVar[dict[type[nn.Module], type["Rule"]]] = {}

    def __init_subclass__(cls, module_type: type[nn.Module]) -> None:
        Rule.registry[module_type] = cls

    @staticmethod
    def find(module: nn.Module) -> "Rule | None":
        """The rule for this module, or None where its gradients need autograd itself."""
        for module_type in type(module).__mro__:
            rule = Rule.registry.get(module_type)
            if rule is not None:
                same_forward = getattr_static(type(module), "forward") is getattr_static(
                    module_type, "forward"
                )
                return rule() if same_forward and rule.supports(module) else None
        return None

    @classmethod
    def supports(cls, module: nn.Module) -> bool:  # noqa: ARG003
        """Whether this module's options are ones that the rule covers."""
        return True

    @abstractmethod
    def per_example(
        self, module: nn.Module, input: Tensor, grad_output: Tensor
    ) -> dict[str, PerExampleGradient]:
        """Gradients by parameter name, from batch-first input and output gradient."""


class LinearRule(Rule, module_type=nn.Linear):
    """y = x W^T + b:  grad W[n] = sum over tokens t of  g[n, t] (outer) x[n, t]."""

    def per_example(
        self,
        module: nn.Module,  # noqa: ARG002
        input: Tensor,
        grad_output: Tensor,
    ) -> dict[str, PerExampleGradient]:
        g_BTO = _tokens(grad_output)
        return {
            "weight": OuterGradient(left_BTO=g_BTO, right_BTI=_tokens(input)),
            "bias": DenseGradient(g_BTO.sum(1)),
        }


class Conv1DRule(Rule, module_type=Conv1D):
    """GPT-2's y = x W + b, a linear layer whose weight is stored transposed."""

    def per_example(
        self,
        module: nn.Module,  # noqa: ARG002
        input: Tensor,
        grad_output: Tensor,
    ) -> dict[str, PerExampleGradient]:
        g_BTO = _tokens(grad_output)
        return {
            "weight": OuterGradient(left_BTO=_tokens(input), right_BTI=g_BTO),
            "bias": DenseGradient(g_BTO.sum(1)),
        }


class EmbeddingRule(Rule, module_type=nn.Embedding):
    """Row `ids[n, t]` of the table gets g[n, t]; the padding row gets nothing."""

    @classmethod
    def supports(cls, module: nn.Module) -> bool:
        assert isinstance(module, nn.Embedding)
        return module.max_norm is None and not module.scale_grad_by_freq

    def per_example(
        self, module: nn.Module, input: Tensor, grad_output: Tensor
    ) -> dict[str, PerExampleGradient]:
        assert isinstance(module, nn.Embedding)
        ids_BT, rows_BTD = input.flatten(1), grad_output.flatten(1, -2)
        if input.dim() == 1:
            ids_BT, rows_BTD = input[:, None], grad_output[:, None]
        rows = RowGradient(ids_BT, rows_BTD, module.num_embeddings, module.padding_idx)
        return {"weight": rows}


class LayerNormRule(Rule, module_type=nn.LayerNorm):
    """y = w * xhat + b:  grad w[n] = sum over tokens of g * xhat, grad b[n] = sum of g."""

    def per_example(
        self, module: nn.Module, input: Tensor, grad_output: Tensor
    ) -> dict[str, PerExampleGradient]:
        assert isinstance(module, nn.LayerNorm)
        normalised = F.layer_norm(input, module.normalized_shape, eps=module.eps)
        between = tuple(range(1, input.dim() - len(module.normalized_shape)))
        weight, bias = grad_output * normalised, grad_output
        if between:
            weight, bias = weight.sum(between), bias.sum(between)
        return {"weight": DenseGradient(weight), "bias": DenseGradient(bias)}
