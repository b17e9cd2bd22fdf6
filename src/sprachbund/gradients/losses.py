"""Per-example losses: the model's own task loss, before it is averaged over a batch."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sprachbund.errors import GradientError
from sprachbund.gradients.batches import Batch

Loss = Callable[[nn.Module, Batch], Tensor]

_CLEARLY = 0.1


class TaskLoss:
    """The loss that a Hugging Face model computes from `labels`, for each example: (model, batch) -> [B].

    Sequence classification: cross entropy (integer labels), mean binary cross entropy (float labels for each class), or
    squared error (one output). Token labels: mean cross entropy over an example's own labelled tokens, shifted by one
    where the model itself does so, as in the model's own loss for a batch of one. Answers in a text
    (`start_positions`, `end_positions`): mean cross entropy of the first and the last token.

    Raises: GradientError where logits and labels fit none of these; then pass a `loss`.
    """

    def __init__(self) -> None:
        self._shifts: bool | None = None

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.with_own(model, batch)[0]

    def with_own(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Besides, the loss that the model itself computes of the batch, if it does."""
        output = model(**batch)
        return self._of(model, output, batch), getattr(output, "loss", None)

    def _of(self, model: nn.Module, output: Any, batch: Batch) -> Tensor:
        if "labels" not in batch:
            return _span_loss(output, batch)
        logits, labels = getattr(output, "logits", None), batch["labels"]
        if logits is None:
            raise GradientError(
                "no default loss for a model whose output has no logits: pass loss=, a function "
                "(model, batch) -> losses [B]"
            )
        if logits.dim() == 2:
            return _sequence_loss(logits, labels)
        if logits.dim() == 3 and labels.dim() == 2 and logits.shape[1] >= labels.shape[1]:
            # A learned prompt comes before the tokens of the text, and has no labels.
            prompt = logits.shape[1] - labels.shape[1]
            labels = F.pad(labels, (prompt, 0), value=-100)
            if self._is_shifted(model, logits, labels, getattr(output, "loss", None)):
                mask = batch.get("attention_mask")
                mask = None if mask is None else F.pad(mask, (prompt, 0), value=1)
                logits, labels = logits[:, :-1], _to_predict(labels, mask)
            return _token_loss(logits, labels)
        raise GradientError(
            f"no default loss for logits of shape {tuple(logits.shape)} with labels of shape "
            f"{tuple(labels.shape)}: pass loss=, a function (model, batch) -> losses [B]"
        )

    def _is_shifted(
        self, model: nn.Module, logits_BTC: Tensor, labels_BT: Tensor, own: Tensor | None
    ) -> bool:
        """Names do not tell: BART's decoder, a `ForCausalLM`, leaves the shift to who makes the labels."""
        if self._shifts is None and own is not None:
            self._shifts = _by_own_loss(logits_BTC, labels_BT, float(own.detach()))
        return _by_name(model) if self._shifts is None else self._shifts


def _by_name(model: nn.Module) -> bool:
    """Whether a model's name says that it predicts the next token."""
    adapted = getattr(model, "get_base_model", None)  # of PEFT
    core = adapted() if callable(adapted) else model
    return type(core).__name__.endswith(("ForCausalLM", "LMHeadModel"))


def _by_own_loss(logits_BTC: Tensor, labels_BT: Tensor, own: float) -> bool | None:
    """Whether it compares a token's logits with the next token's label; None if the model's own loss does not tell.

    In double precision, as both readings of a model that knows nothing yet are close.
    """
    with torch.no_grad():
        logits_BCT = logits_BTC.mT.double()
        as_they_are = float(F.cross_entropy(logits_BCT, labels_BT))
        shifted = float(F.cross_entropy(logits_BCT[:, :, :-1], labels_BT[:, 1:]))
    off = {True: abs(shifted - own), False: abs(as_they_are - own)}
    nearer = min(off, key=lambda reading: off[reading])
    return nearer if off[nearer] < _CLEARLY * off[not nearer] else None  # None also for a NaN


def _to_predict(labels_BT: Tensor, mask: Tensor | None) -> Tensor:
    """Labels of the tokens but the first of each example, which only padding on the left could predict."""
    labels_BT = labels_BT[:, 1:]
    if mask is None or mask.dim() != 2 or mask.shape[1] != labels_BT.shape[1] + 1:
        return labels_BT
    return labels_BT.masked_fill(mask[:, :-1] == 0, -100)


def _sequence_loss(logits_BC: Tensor, labels: Tensor) -> Tensor:
    if logits_BC.shape[1] == 1:
        return (logits_BC.squeeze(1) - labels.reshape(-1).to(logits_BC.dtype)).square()
    if labels.is_floating_point():
        return F.binary_cross_entropy_with_logits(logits_BC, labels, reduction="none").mean(1)
    return F.cross_entropy(logits_BC, labels.reshape(-1), reduction="none")


def _token_loss(logits_BTC: Tensor, labels_BT: Tensor) -> Tensor:
    losses_BT = F.cross_entropy(logits_BTC.transpose(1, 2), labels_BT, reduction="none")
    count_B = (labels_BT != -100).sum(1)
    if bool((count_B == 0).any()):
        raise GradientError(
            "an example has no labelled token (all are -100): its loss is undefined"
        )
    return losses_BT.sum(1) / count_B


def _span_loss(output: Any, batch: Batch) -> Tensor:
    """No answer starts or ends in padding: models rank it with the text's tokens, so that a batch would matter."""
    spans = [
        (getattr(output, f"{end}_logits", None), batch.get(f"{end}_positions"))
        for end in ("start", "end")
    ]
    losses, mask = [], batch.get("attention_mask")
    for logits_BT, position_B in spans:
        if logits_BT is None or position_B is None:
            raise GradientError(
                "no default loss for a batch without labels, unless it has start_positions and end_positions, and the "
                "model start_logits and end_logits: pass loss=, a function (model, batch) -> losses [B]"
            )
        if bool((position_B >= logits_BT.shape[1]).any()):
            raise GradientError(
                f"an answer starts or ends at token {int(position_B.max())} of {logits_BT.shape[1]}: it was cut off "
                "with its text. Leave such examples out, or let both positions be 0"
            )
        if mask is not None and mask.shape == logits_BT.shape:
            logits_BT = logits_BT.masked_fill(mask == 0, torch.finfo(logits_BT.dtype).min)
        losses.append(F.cross_entropy(logits_BT, position_B, reduction="none"))
    return (losses[0] + losses[1]) / 2


def check_losses(losses: Tensor, size: int) -> None:
    """Raises: GradientError unless there is one finite loss for each example."""
    if losses.shape != (size,):
        raise GradientError(
            f"the loss returned shape {tuple(losses.shape)} for a batch of {size} examples; "
            f"expected ({size},), one loss for each example (reduction='none')"
        )
    if not bool(torch.isfinite(losses).all()):
        where = int((~torch.isfinite(losses)).nonzero()[0])
        raise GradientError(
            f"the loss of example {where} of a batch is {float(losses[where])}: the model's "
            f"weights or the input are broken (training diverged?)"
        )
