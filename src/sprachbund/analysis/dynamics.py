"""How the languages that a prediction relies on change in the course of fine-tuning."""

import numpy as np
import xarray as xr

from sprachbund.analysis.sharing import language_share
from sprachbund.influence import Influence, Sign


def share_by_checkpoint(
    influence: Influence, k: int = 100, sign: Sign = "proponents"
) -> xr.DataArray:
    """The share matrix of every checkpoint alone, the starting point included.

    Returns: [checkpoint, test_language, train_language], percent; rows sum to 100.
    Raises: InfluenceError if k exceeds the number of training examples.
    """
    shares = [language_share(influence, k, sign, step) for step in influence.checkpoints]
    epoch = influence.dataset["epoch"].values
    return xr.DataArray(
        np.stack([share.values for share in shares]),
        dims=("checkpoint", *shares[0].dims),
        coords={
            **shares[0].coords,
            "checkpoint": list(influence.checkpoints),
            "epoch": ("checkpoint", epoch),
        },
        name="share_percent",
        attrs=shares[0].attrs,
    )


def own_language_share(
    influence: Influence, k: int = 100, sign: Sign = "proponents"
) -> xr.DataArray:
    """Percentage of the top k that comes from the test example's own language, by checkpoint.

    Choenni et al. (2023) follow it over the epochs.

    Returns: [checkpoint, test_language], percent; NaN for a language that was not trained on.
    `expected_percent` [test_language] is the share of a top k drawn at random.
    Raises: InfluenceError if k exceeds the number of training examples.
    """
    return own_share(share_by_checkpoint(influence, k, sign))


def own_share(shares: xr.DataArray) -> xr.DataArray:
    """The entries of share matrices where test and training language are the same.

    `shares` is [..., test_language, train_language]. Returns: [..., test_language], NaN where the
    test language is not among the training languages.
    """
    languages = shares["test_language"].values.tolist()
    wide = shares.reindex(train_language=languages)
    own = wide.isel(
        train_language=xr.DataArray(np.arange(len(languages)), dims="test_language"),
    )
    return own.drop_vars("train_language")
