"""From the pieces of a decomposition to one labelled dataset."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from sprachbund.data.corpus import Corpus
from sprachbund.decomposition.checkpoint import language_numbers
from sprachbund.decomposition.pieces import Layout, Pieces, load, read_layout
from sprachbund.errors import SprachbundWarning
from sprachbund.gradients.centred import Uncentred, centred
from sprachbund.methods import method_named
from sprachbund.runs import Checkpoint
from sprachbund.store.layout import EXAMPLE_COLUMNS

_VARIABLES = {
    "contribution": (("group", "test", "train"), "influence that is due to a group of parameters"),
    "means_removed": (("test", "train"), "influence without each language's mean gradient"),
    "test_gradient_norm": (("group", "test"), "norm of the loss gradient within a group"),
    "train_gradient_norm": (("group", "train"), "norm of the loss gradient within a group"),
}


def assembled(
    pieces: Pieces, checkpoints: Sequence[Checkpoint], train: Corpus, test: Corpus, method: str
) -> xr.Dataset:
    """What `Decomposition` describes, float32, without attributes.

    Raises: StudyError if a piece is damaged.
    """
    parts = [_at(pieces, checkpoint.step, train, test, method) for checkpoint in checkpoints]
    coords: dict[str, Any] = {
        "checkpoint": [checkpoint.step for checkpoint in checkpoints],
        "epoch": ("checkpoint", [checkpoint.epoch for checkpoint in checkpoints]),
        "learning_rate": ("checkpoint", [checkpoint.learning_rate for checkpoint in checkpoints]),
    }
    for split, corpus in (("train", train), ("test", test)):
        coords[split] = corpus.frame["id"].to_numpy(dtype=object)
        for column in EXAMPLE_COLUMNS:
            coords[f"{split}_{column}"] = (split, corpus.frame[column].to_numpy(dtype=object))
    return xr.concat(parts, "checkpoint", join="exact").assign_coords(coords)


def _at(pieces: Pieces, step: int, train: Corpus, test: Corpus, method: str) -> xr.Dataset:
    """One checkpoint."""
    layout = read_layout(pieces.layout(step))
    assert layout is not None
    dot_GMN, test_GM, train_GN = _joined(pieces, step, layout, len(test), len(train))
    dot_MN, test_M, train_N = dot_GMN.sum(0), test_GM.sum(0), train_GN.sum(0)
    rest = centred(
        Uncentred(dot_MN, torch.from_numpy(load(pieces.means(step))), test_M, train_N),
        language_numbers(test, train),
        language_numbers(train, train),
    )
    # Both methods are linear in the inner product, so that contributions add up as inner products do.
    score = method_named(method).influence
    contributions = [score(dot_MN, test_M.sqrt(), train_N.sqrt()) for dot_MN in dot_GMN]
    with warnings.catch_warnings():
        # The only example of its language is its mean: that nothing is left is no news of the model.
        warnings.filterwarnings("ignore", "the gradient of", SprachbundWarning)
        means_removed_MN = score(rest.dot_MN, rest.test_norm_M, rest.train_norm_N)
    found = {
        "contribution": torch.stack(contributions),
        "means_removed": means_removed_MN,
        "test_gradient_norm": test_GM.sqrt(),
        "train_gradient_norm": train_GN.sqrt(),
    }
    return xr.Dataset(
        {
            name: (dims, found[name].float().numpy(), {"long_name": long_name})
            for name, (dims, long_name) in _VARIABLES.items()
        },
        coords={"group": np.array(layout.groups, dtype=object)},
    )


def _joined(
    pieces: Pieces, step: int, layout: Layout, n_test: int, n_train: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Inner products [G, M, N] and squared norms [G, M], [G, N], in the order of the corpora."""
    groups = len(layout.groups)
    dot_GMN = np.zeros((groups, n_test, n_train))
    test_GM, train_GN = np.zeros((groups, n_test)), np.zeros((groups, n_train))
    for number, each in enumerate(layout.passes):
        test_GM[:, each.tests] += load(pieces.tests(step, number))
        for shard in pieces.shards(n_train):
            values_GMN = load(pieces.scores(step, number, shard))
            dot_GMN[:, each.tests, shard] += values_GMN[:, :-1]
            if each.is_of_first_block:
                train_GN[:, shard] += values_GMN[:, -1]
    return torch.from_numpy(dot_GMN), torch.from_numpy(test_GM), torch.from_numpy(train_GN)
