"""One rule for each kind of module: from its input and output gradient to per-example gradients.

A rule serves a module only if the module runs the very `forward` that the rule was written for; every other module is
differentiated locally. To support another kind directly, subclass `Rule` and name the module type.
"""

from abc import ABC, abstractmethod
from inspect import getattr_static
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sprachbund.gradients.calls import Call
from sprachbund.gradients.few_tokens import few_of
from sprachbund.gradients.per_example import (
    DenseGradient,
    OuterGradient,
    PerExampleGradient,
    RowGradient,
)
from sprachbund.gradients.unwritten import written_out

_NODE_OF_LAYER_NORM = "NativeLayerNormBackward0"
# 32 examples of 128 tokens of 256 numbers take it 0.47 of the time, of 768 numbers 0.28; 128 of 32 x 256 take it 1.3.
_NUMBERS_FOR_ONE_BY_ONE = 2**14
_KINDS_FOR_ONE_BY_ONE = ({(torch.float32, "cpu")}, {(torch.float64, "cpu")})


class Rule(ABC):
    """Per-example gradients of one kind of module."""

    registry: ClassVar[dict[type[nn.Module], type["Rule"]]] = {}
    yields: ClassVar[frozenset[str]] = frozenset({"weight", "bias"})
    """The local names of the parameters that the rule knows; one with others says so."""
    least_axes: ClassVar[int] = 2
    """What goes in has at least so many: the examples', and the features'."""
    takes_few: ClassVar[bool] = False
    """Whether gradients and inputs may be of few tokens; else they come written out."""

    def __init_subclass__(cls, module_type: type[nn.Module] | None = None) -> None:
        if module_type is not None:
            Rule.registry[module_type] = cls

    @staticmethod
    def find(module: nn.Module) -> "Rule | None":
        """The rule written for this module's forward, or None."""
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

    def note_arguments(self, call: Call) -> bool:  # noqa: ARG002
        """Whether the call, of which this takes note, has arguments that none had: how they are read is not proven."""
        return False

    def kept(self, output: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        """What the rule needs of the forward pass besides the input."""
        return ()

    @abstractmethod
    def per_example(
        self, call: Call, grad_outputs: tuple[Tensor, ...]
    ) -> dict[str, PerExampleGradient]:
        """Gradients by local parameter name, from one call and the gradients of its outputs."""

    def per_example_of_shared(
        self, call: Call, input: Tensor, sent: Tensor
    ) -> dict[str, PerExampleGradient]:
        """The same of an input that all examples share, and what each has sent back, [B, *shape of the output]."""
        size = len(sent)
        each = input.expand(size, *input.shape)
        given = Call(call.module, call.names, (each,), call.kwargs, batch_size=size, rows=size)
        return self.per_example(given, (sent,))


class LinearRule(Rule, module_type=nn.Linear):
    """y = x W^T + b:  grad W[n] = sum over tokens t of  g[n, t] (outer) x[n, t]."""

    def per_example(
        self, call: Call, grad_outputs: tuple[Tensor, ...]
    ) -> dict[str, PerExampleGradient]:
        return self.from_factors(*_factors(call, grad_outputs[0]))

    @staticmethod
    def from_factors(x_BTI: Tensor, g_BTO: Tensor) -> dict[str, PerExampleGradient]:
        """From inputs and output gradients of the tokens that have one."""
        return {"weight": OuterGradient(g_BTO, x_BTI), "bias": DenseGradient(g_BTO.sum(1))}


class Conv1DRule(Rule, module_type=Conv1D):
    """GPT-2's y = x W + b, a linear layer whose weight is stored transposed."""

    def per_example(
        self, call: Call, grad_outputs: tuple[Tensor, ...]
    ) -> dict[str, PerExampleGradient]:
        x_BTI, g_BTO = _factors(call, grad_outputs[0])
        return {"weight": OuterGradient(x_BTI, g_BTO), "bias": DenseGradient(g_BTO.sum(1))}


class EmbeddingRule(Rule, module_type=nn.Embedding):
    """Row `ids[n, t]` of the table gets g[n, t]; the padding row gets nothing."""

    least_axes = 1

    @classmethod
    def supports(cls, module: nn.Module) -> bool:
        assert isinstance(module, nn.Embedding)
        return module.max_norm is None and not module.scale_grad_by_freq

    def per_example(
        self, call: Call, grad_outputs: tuple[Tensor, ...]
    ) -> dict[str, PerExampleGradient]:
        module, ids = call.module, call.input
        grad_output = call.by_example(grad_outputs[0])
        assert isinstance(module, nn.Embedding)
        if ids.dim() == 1:
            ids_BT, rows_BTD = ids[:, None], grad_output[:, None]
        else:
            ids_BT, rows_BTD = ids.flatten(1), grad_output.flatten(1, -2)
        padding_idx = self._padding_idx(call)
        return {"weight": RowGradient(ids_BT, rows_BTD, module.num_embeddings, padding_idx)}

    def per_example_of_shared(
        self, call: Call, input: Tensor, sent: Tensor
    ) -> dict[str, PerExampleGradient]:
        """All have the same ids, so that a row that was looked up often comes once for each."""
        assert isinstance(call.module, nn.Embedding)
        ids, place = input.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        rows = sent.new_zeros(len(sent), len(ids), sent.shape[-1])
        rows.index_add_(1, place.flatten(), sent.reshape(len(sent), -1, sent.shape[-1]))
        ids_BT, padding_idx = ids.expand(len(sent), -1), self._padding_idx(call)
        return {"weight": RowGradient(ids_BT, rows, call.module.num_embeddings, padding_idx)}

    def _padding_idx(self, call: Call) -> int | None:
        assert isinstance(call.module, nn.Embedding)
        return call.module.padding_idx


class LookupRule(EmbeddingRule):
    """For an embedding whose forward does more than look up: scales, clamps, counts positions from a mask.

    Its call is the lookup inside, of ids and `padding_idx`.
    """

    def _padding_idx(self, call: Call) -> int | None:
        padding_idx: int | None = call.kwargs["padding_idx"]
        return padding_idx


class LayerNormRule(Rule, module_type=nn.LayerNorm):
    """y = w * xhat + b:  grad w[n] = sum over tokens of g * xhat, grad b[n] = sum of g."""

    takes_few = True

    def kept(self, output: Tensor) -> tuple[Tensor, ...]:
        """Each token's mean and one over its deviation, if autograd has them."""
        node = output.grad_fn
        if type(output) is not Tensor or node is None or node.name() != _NODE_OF_LAYER_NORM:
            return ()
        if _saved_is_packed():  # which may be unpacked but once, or at a price
            return ()
        saved = node._saved_result1, node._saved_result2  # type: ignore[attr-defined]
        return tuple(each.detach() for each in saved)

    def per_example(
        self, call: Call, grad_outputs: tuple[Tensor, ...]
    ) -> dict[str, PerExampleGradient]:
        module = call.module
        assert isinstance(module, nn.LayerNorm)
        if len(module.normalized_shape) == 1:
            input, bias = _factors(call, grad_outputs[0])
            kept = [by_token(call.by_example(each)) for each in call.kept]
            if kept and _suits_one_by_one(input, bias, module.weight, *kept):
                return _normalised_one_by_one(module, input, bias, *kept)
        else:
            input, bias = written_out(call.input), call.by_example(written_out(grad_outputs[0]))
        # A norm in float32 amid a model in bfloat16: no sum in less than the parameter's own precision.
        dtype = torch.promote_types(
            module.weight.dtype, torch.promote_types(input.dtype, bias.dtype)
        )
        bias = bias.to(dtype)
        normalised = F.layer_norm(input.to(dtype), module.normalized_shape, eps=module.eps)
        weight = normalised.mul_(bias)
        between = tuple(range(1, input.dim() - len(module.normalized_shape)))
        if between:
            weight, bias = weight.sum(between), bias.sum(between)
        return {"weight": DenseGradient(weight), "bias": DenseGradient(bias)}


def _saved_is_packed() -> bool:
    """Whether what autograd saves goes through somebody's hooks, a checkpoint's for instance; true if unknown."""
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return hooks is None or hooks(False) is not None


def _suits_one_by_one(
    input: Tensor, grad: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor
) -> bool:
    """Whether torch's own backward pass of a norm is the faster way, called for one example after another."""
    values = input, grad, weight, mean, rstd
    return (
        mean.shape[1] == input.shape[1]  # else some tokens only
        and input[0].numel() >= _NUMBERS_FOR_ONE_BY_ONE
        and {(value.dtype, value.device.type) for value in values} in _KINDS_FOR_ONE_BY_ONE
        and all(type(value) in (Tensor, nn.Parameter) for value in values)
    )


def _normalised_one_by_one(
    module: nn.LayerNorm, input: Tensor, grad: Tensor, mean: Tensor, rstd: Tensor
) -> dict[str, PerExampleGradient]:
    """From [B, T, D], and mean and one over the deviation, [B, T, 1]."""
    has_bias = module.bias is not None
    found: dict[str, list[Tensor]] = {"weight": [], "bias": []}
    for x_TD, g_TD, *statistics in zip(input, grad, mean, rstd, strict=True):
        _, of_weight, of_bias = torch.ops.aten.native_layer_norm_backward(
            *(g_TD, x_TD, module.normalized_shape, *statistics, module.weight, module.bias),
            [False, True, has_bias],
        )
        found["weight"].append(of_weight)
        found["bias"] += [of_bias] if has_bias else []
    return {name: DenseGradient(torch.stack(each)) for name, each in found.items() if each}


def _factors(call: Call, grad_output: Tensor) -> tuple[Tensor, Tensor]:
    """What went in and the gradient of what came out, [B, L, I] and [B, L, O], of the tokens that have one."""

    def as_tokens(grad: Tensor) -> Tensor:
        return by_token(call.by_example(grad))

    x_BTI, few = by_token(call.input), few_of(grad_output, as_tokens)
    if few is None:
        return written_out(x_BTI), as_tokens(written_out(grad_output))
    return few.of(x_BTI), few.few


def by_token(tensor: Tensor) -> Tensor:
    """Fold everything between the batch and the features into one token axis: [B, T, D]."""
    if tensor.dim() == 3:
        return tensor
    return tensor.unsqueeze(1) if tensor.dim() == 2 else tensor.flatten(1, -2)
