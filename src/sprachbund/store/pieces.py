"""The pieces that an influence result is written in: what they are called, what chunks they fill.

One piece for the test examples of a checkpoint, and one for each shard of the training set.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sprachbund.store.contents import Contents
from sprachbund.store.layout import MAX_TEST_CHUNK, VARIABLES


@dataclass(frozen=True)
class Shard:
    """Training examples [start, stop) at one checkpoint (its position, not its step)."""

    checkpoint: int
    start: int
    stop: int


@dataclass(frozen=True)
class Piece:
    """What is written, and counted, as one."""

    name: str
    checkpoint: int
    where: slice  # along the last dimension of its variables
    keys: tuple[str, ...]  # its chunk files, relative to the store


def shards(contents: Contents, checkpoint: int) -> list[Shard]:
    """All shards of the checkpoint at this position, in train order."""
    n_train, size = len(contents.train), contents.shard_size
    return [Shard(checkpoint, i, min(i + size, n_train)) for i in range(0, n_train, size)]


def piece_of_shard(contents: Contents, shard: Shard) -> Piece:
    """The piece of a shard: influence, and the norms and losses of its training examples."""
    position = shard.start // contents.shard_size
    keys = []
    for name, (dims, _, _) in VARIABLES.items():
        if dims == ("checkpoint", "train"):
            keys.append(f"{name}/c/{shard.checkpoint}/{position}")
        elif dims[-1] == "train":
            tests = range(_test_chunks(contents))
            keys += [f"{name}/c/{shard.checkpoint}/{test}/{position}" for test in tests]
    name = f"train-{shard.checkpoint}-{shard.start}"
    return Piece(name, shard.checkpoint, slice(shard.start, shard.stop), tuple(keys))


def piece_of_tests(contents: Contents, checkpoint: int) -> Piece:
    """The piece of what concerns the test examples at the checkpoint at this position."""
    keys = [
        f"{name}/c/{checkpoint}/{test}"
        for name, (dims, _, _) in VARIABLES.items()
        if dims == ("checkpoint", "test")
        for test in range(_test_chunks(contents))
    ]
    return Piece(f"test-{checkpoint}", checkpoint, slice(0, len(contents.test)), tuple(keys))


def all_pieces(contents: Contents) -> Iterator[Piece]:
    """Every piece of the result."""
    for checkpoint in range(len(contents.checkpoints)):
        yield piece_of_tests(contents, checkpoint)
        for shard in shards(contents, checkpoint):
            yield piece_of_shard(contents, shard)


def _test_chunks(contents: Contents) -> int:
    return -(-len(contents.test) // MAX_TEST_CHUNK)
