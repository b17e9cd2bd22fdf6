"""How the languages that a prediction relies on change in the course of fine-tuning.

`alone` and `running` take any measure of a score matrix (`measures`, `reinforcement`) through the
checkpoints; `own_and_cross` and `learning_curves` say what it is to be seen against.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import xarray as xr

from sprachbund.analysis.labels import in_order
from sprachbund.analysis.sharing import language_share
from sprachbund.analysis.statistics import PERCENT, mean_intervals
from sprachbund.errors import InfluenceError
from sprachbund.influence import Influence, Sign

LEARNING_BOUNDS = {"accuracy_percent": PERCENT, "loss": (0.0, np.inf)}
Measured = TypeVar("Measured", xr.DataArray, xr.Dataset)


def alone(influence: Influence, measure: Callable[[xr.DataArray], Measured]) -> Measured:
    """A measure of the scores of each checkpoint alone, the starting point included.

    `measure` takes scores [test, train]: `top_shares`, `partial(mass_share, sign="opponents")`, ...

    Returns: [checkpoint, ...] with the coordinate `epoch`.
    """
    steps = influence.checkpoints
    return _stacked(influence, steps, (measure(influence.at(step)) for step in steps))


def running(influence: Influence, measure: Callable[[xr.DataArray], Measured]) -> Measured:
    """A measure of the weighted sum of the scores up to each checkpoint, as training went on.

    The weights are those of the total (`Influence.total_weights`): at the last checkpoint this is
    the measure of the total. Checkpoints before the first with a weight, such as the starting
    point, have no sum and are left out.

    Returns: [checkpoint, ...] with the coordinate `epoch`.
    Raises: InfluenceError if no checkpoint has a weight.
    """
    weights = influence.total_weights()
    if not weights.any():
        raise InfluenceError("every checkpoint has the learning rate 0: there is no running sum")
    steps = influence.checkpoints[int(np.flatnonzero(weights)[0]) :]
    return _stacked(influence, steps, (measure(scores) for scores in _sums(influence, steps)))


def share_by_checkpoint(
    influence: Influence, k: int = 100, sign: Sign = "proponents"
) -> xr.DataArray:
    """The share matrix of every checkpoint alone, the starting point included.

    Returns: [checkpoint, test_language, train_language], percent; rows sum to 100.
    Raises: InfluenceError if k exceeds the number of training examples.
    """
    steps = influence.checkpoints
    shares = (language_share(influence, k, sign, step) for step in steps)
    return _stacked(influence, steps, shares)


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

    `shares` is [..., test_language, train_language], or with `test` for single test examples.
    Returns: without `train_language`; NaN where the test language is not among the training
    languages.
    """
    along = "test_language" if "test_language" in shares.dims else "test"
    languages = shares["test_language"].values.tolist()
    wide = shares.reindex(train_language=list(dict.fromkeys(languages)))
    order = wide["train_language"].values.tolist()
    own = wide.isel(
        train_language=xr.DataArray([order.index(language) for language in languages], dims=along)
    )
    return own.drop_vars("train_language")


def own_and_cross(shares: xr.DataArray) -> xr.Dataset:
    """Share of the test example's own language against that of all other languages, with intervals.

    `shares` [..., test, train_language], percent of each test example, summing to 100: `alone` or
    `running` of `top_shares` or `mass_share`. The two shares sum to 100; their chance levels do
    too, and differ from language to language.

    Returns: `mean`, `low`, `high`, `n_clusters`, each [relation, ..., test_language], percent;
    `relation` is "own" or "cross"; `expected_percent` [relation, test_language] is chance. A
    language that was not trained on has no own share: all of its row is NaN.
    """
    intervals = mean_intervals(own_and_cross_values(shares), PERCENT)
    return intervals.assign_coords(expected_percent=expected_own_and_cross(shares))


def own_and_cross_values(shares: xr.DataArray) -> xr.DataArray:
    """The two shares of each test example that `own_and_cross` averages, [relation, ..., test]."""
    own = own_share(shares).transpose(..., "test")
    both = xr.concat([own, 100.0 - own], dim="relation", coords="minimal", compat="override")
    return both.assign_coords(relation=["own", "cross"]).drop_vars("expected_percent")


def expected_own_and_cross(shares: xr.DataArray) -> xr.DataArray:
    """The own and the cross-language share of a top k drawn at random.

    Returns: [relation, test_language], percent; NaN for a language that was not trained on.
    """
    languages = in_order(shares["test_language"].values)
    expected = np.array([_expected_own(shares, language) for language in languages])
    return xr.DataArray(
        np.stack([expected, 100.0 - expected]),
        dims=("relation", "test_language"),
        coords={"relation": ["own", "cross"], "test_language": languages},
    )


def learning_curves(influence: Influence) -> xr.Dataset:
    """Accuracy and loss on the attributed test examples by language and checkpoint.

    Where the result holds predictions and losses: on the same test examples, and over the
    same epochs, as the shares. A test set that is larger gives better estimates.

    Returns: `accuracy_percent` and `loss` (nats, as the model was trained on), and `_low` and
    `_high` of each (see `mean_intervals`), [checkpoint, test_language], with `epoch`.
    Raises: InfluenceError if the result holds neither predictions nor losses.
    """
    curves = {
        name: mean_intervals(values, LEARNING_BOUNDS[name])
        for name, values in learning_values(influence).items()
    }
    parts = [
        curve[["mean", "low", "high"]].rename(mean=name, low=f"{name}_low", high=f"{name}_high")
        for name, curve in curves.items()
    ]
    return xr.merge(parts, compat="override", combine_attrs="drop").drop_vars("learning_rate")


def learning_values(influence: Influence) -> dict[str, xr.DataArray]:
    """What `learning_curves` averages, of each test example: [checkpoint, test] by name.

    Raises: InfluenceError if the result holds neither predictions nor losses.
    """
    dataset = influence.dataset
    values: dict[str, xr.DataArray] = {}
    if "test_prediction" in dataset:
        correct = dataset["test_prediction"].astype(object) == dataset["test_label"].astype(object)
        values["accuracy_percent"] = 100.0 * correct
    if "test_loss" in dataset:
        values["loss"] = dataset["test_loss"]
    if not values:
        raise InfluenceError(
            "the influence result holds neither test_prediction nor test_loss: attribute again to "
            "have learning curves"
        )
    return values


def _sums(influence: Influence, steps: Sequence[int]) -> Iterator[xr.DataArray]:
    weights = dict(zip(influence.checkpoints, influence.total_weights(), strict=True))
    total: xr.DataArray | None = None
    for step in steps:
        scores = influence.at(step)
        weighted = scores.values.astype(np.float64) * weights[step]
        total = scores.copy(data=weighted if total is None else total.values + weighted)
        yield total


def _stacked(influence: Influence, steps: Sequence[int], measured: Iterator[Measured]) -> Measured:
    """Put what was measured at each step along a new dimension `checkpoint`."""
    along_checkpoints = ("checkpoint", "epoch", "learning_rate")
    parts = [part.drop_vars(along_checkpoints, errors="ignore") for part in measured]
    stacked = xr.concat(
        parts, dim="checkpoint", coords="minimal", compat="override", combine_attrs="override"
    )
    epoch = influence.dataset["epoch"].sel(checkpoint=list(steps)).values
    return stacked.assign_coords(checkpoint=list(steps), epoch=("checkpoint", epoch))


def _expected_own(shares: xr.DataArray, language: str) -> float:
    if language not in shares["train_language"].values.tolist():
        return float("nan")
    return float(shares["expected_percent"].sel(train_language=language))
