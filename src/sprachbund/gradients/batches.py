"""Collated batches: how many examples one has, some of them, one of them without its padding, the same ones again."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from sprachbund.errors import GradientError

Batch = Mapping[str, Tensor]

_CHANGED = (
    "the training batches changed between passes: give a re-iterable that has the same order "
    "each time, such as a list"
)


def check_batch(batch: Batch) -> None:
    """Raises: GradientError if the batch holds something that is no tensor."""
    for name, value in batch.items():
        if not isinstance(value, Tensor):
            raise GradientError(
                f"{name} of a batch is {value!r:.50}; expected a tensor: leave it out, or give it in loss="
            )


def batch_size(batch: Batch) -> int:
    """Number of examples of a collated batch; its `labels`, or an answer's `start_positions`, have one row for each.

    Raises: GradientError without either.
    """
    for name in ("labels", "start_positions"):
        if name in batch:
            return int(batch[name].shape[0])
    found = ", ".join(batch) or "nothing"
    raise GradientError(
        f"a batch holds {found}, but no labels (for answers in a text: start_positions), which the loss needs"
    )


def slice_batch(batch: Batch, start: int, stop: int) -> dict[str, Tensor]:
    """Examples [start, stop) of a batch; tensors that are not per example stay whole."""
    size = batch_size(batch)
    return {
        name: value[start:stop] if value.dim() and value.shape[0] == size else value
        for name, value in batch.items()
    }


def examples_within(batches: Iterable[Batch], wanted: slice) -> Iterator[dict[str, Tensor]]:
    """The examples at these positions of all the batches together, batch by batch."""
    begin = 0
    for batch in batches:
        end = begin + batch_size(batch)
        start, stop = max(begin, wanted.start), min(end, wanted.stop)
        if start < stop:
            yield slice_batch(batch, start - begin, stop - begin)
        begin = end


class RepeatedBatches:
    """Training batches to pass over several times, compared by their content: scores add up for the same ones alone.

    Raises: GradientError, while they are passed over, if there are none or they are not those of the first time.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self._first: list[bytes] | None = None

    def __iter__(self) -> Iterator[Batch]:
        seen: list[bytes] = []
        for number, batch in enumerate(self._batches):
            seen.append(_digest(batch))
            if self._first is not None and self._first[number : number + 1] != seen[number:]:
                raise GradientError(_CHANGED)
            yield batch
        if not seen:
            raise GradientError(
                "there is no training batch (an iterator that was already consumed?)"
            )
        if self._first is not None and len(seen) < len(self._first):
            raise GradientError(_CHANGED)
        self._first = seen


def _digest(batch: Batch) -> bytes:
    check_batch(batch)
    digest = hashlib.sha256()
    for name, value in batch.items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        data = value.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(data.numpy().tobytes())
    return digest.digest()


def example_alone(model: nn.Module, batch: Batch, position: int) -> dict[str, Tensor]:
    """One example as a batch of its own, without the columns that its attention mask leaves out."""
    alone = slice_batch(batch, position, position + 1)
    mask = alone.get("attention_mask")
    if mask is None or mask.dim() != 2 or bool(mask.all()):
        return alone
    kept = mask[0].bool()
    if not bool(kept.any()):
        raise GradientError(
            "the attention mask leaves out every token of an example: there is nothing to predict it from"
        )
    has_decoder = _has_decoder(model)
    return {
        name: value[:, kept]
        if value.shape[:2] == mask.shape and _is_by_token(name, value, has_decoder)
        else value
        for name, value in alone.items()
    }


def _has_decoder(model: nn.Module) -> bool:
    """Whether an encoder-decoder is in it, wrapped or not; an encoder that was taken out of one is none."""
    return any(
        getattr(getattr(module, "config", None), "is_encoder_decoder", False)
        and getattr(module, "decoder", None) is not None
        for module in model.modules()
    )


def _is_by_token(name: str, value: Tensor, has_decoder: bool) -> bool:
    """Whether what has the shape of the attention mask, and more axes perhaps, goes with its tokens.

    Everything does (ids, positions, boxes, languages, ...) but for what belongs to a decoder and the labels of several
    classes, which happen to be as many.
    """
    if name == "labels":
        return not has_decoder and not value.is_floating_point()
    return not name.startswith("decoder_")
