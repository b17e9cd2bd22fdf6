"""What else could make a language look influential: labels, strong languages, plain properties, parts of the model.

Each control changes the scores, or which training examples are ranked; the lift of each language is
then taken anew. What remains is what the control cannot explain.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from sprachbund.analysis.decomposed import DecomposedScores
from sprachbund.analysis.interval_tests import with_p_values
from sprachbund.analysis.labels import example_coords, language_codes
from sprachbund.analysis.measures import chance, lift, top_shares, top_weights
from sprachbund.analysis.properties import residual
from sprachbund.analysis.remaining import remaining_intervals
from sprachbund.analysis.seeds import combine_seeds, quiet_about_signs
from sprachbund.analysis.tops import check_ks, part_in_top
from sprachbund.errors import InfluenceError
from sprachbund.influence import Sign

NO_CONTROL = "none"
SAME_LABEL, OTHER_LABEL = "same label", "another label"
AS_DEEP = {name: f"none, as deep as {name}" for name in (SAME_LABEL, OTHER_LABEL)}
"""Of each label stratum the control without control that it is compared with: as many of all training examples."""
_LEVEL_OF_CHANCE = 1.0


def label_agreement(scores: xr.DataArray, k: int = 100, sign: Sign = "proponents") -> xr.Dataset:
    """How many of each test example's top k have its own label.

    Returns: [test], percent: `same_label_percent`, and `expected_percent`, the share of the
    training examples that have the label.
    """
    same_MN = _same_label(scores)
    top_percent = top_weights(scores, k, sign)
    return xr.Dataset(
        {
            "same_label_percent": ("test", (top_percent.values * same_MN).sum(axis=1)),
            "expected_percent": ("test", 100.0 * same_MN.mean(axis=1)),
        },
        coords=example_coords(scores),
        attrs={"k": k, "sign": sign},
    )


def share_by_label(scores: xr.DataArray, k: int = 100, sign: Sign = "proponents") -> xr.Dataset:
    """The share of each language in the top examples, ranked among training examples of one label only.

    Once among those with the test example's label and once among those with another; of each as large a part as k is
    of the training set. (The top k itself would be most of a rare label, whose languages are as they are.)

    Returns: [label, test, train_language], `label` "same label" or "another label":
    `share_percent`, sums to 100 over languages, and `expected_percent`, the language's share of
    the training examples that were ranked; `as_deep_percent`, the share among as many of all training examples: what
    the label does is the difference from it, and not that from the top k, which is deeper. NaN for a test example
    without training examples of a kind; the attribute `left_out` counts them.
    Raises: InfluenceError if that is so of all of them, or k exceeds the number of training examples.
    """
    check_ks((k,), scores.sizes["train"])
    same_MN = _same_label(scores)
    strata = {SAME_LABEL: same_MN, OTHER_LABEL: ~same_MN}
    parts = [_among(scores, name, allowed, k, sign) for name, allowed in strata.items()]
    without = {name: int((~allowed.any(axis=1)).sum()) for name, allowed in strata.items()}
    left_out = tuple(
        f"{count} of {len(same_MN)} test examples under “{name}”, without such training examples"
        for name, count in without.items()
        if count
    )
    found = xr.concat(parts, dim="label").assign_coords(label=list(strata))
    return found.assign_attrs(left_out=left_out)


def without_language_means(scores: xr.DataArray) -> xr.DataArray:
    """Scores less, for each test example, the mean over the training examples of the same language.

    No language then has more influence on average; what differs is how far its examples spread.

    Returns: [test, train], float64.
    """
    values = scores.transpose("test", "train")
    codes_N, languages = language_codes(scores["train_language"])
    member_NL = np.equal.outer(codes_N, np.arange(len(languages))).astype(np.float64)
    scores_MN = values.values.astype(np.float64)
    means_ML = scores_MN @ (member_NL / member_NL.sum(axis=0))
    return values.copy(data=scores_MN - means_ML[:, codes_N])


def controlled(scores: xr.DataArray, properties: xr.Dataset) -> Iterator[tuple[str, xr.DataArray]]:
    """Yield (name, scores [test, train]) without control and after each control of the scores.

    "none"; "language means" (`without_language_means`); the residual after each property, by its
    name; and "all properties" together, if there are several.
    """
    yield NO_CONTROL, scores
    yield "language means", without_language_means(scores)
    names = [str(name) for name in properties.data_vars]
    for name in names:
        yield name, residual(scores, properties[[name]])
    if len(names) > 1:
        yield "all properties", residual(scores, properties)


def lifts_after_controls(
    scores: xr.DataArray,
    properties: xr.Dataset,
    k: int = 100,
    sign: Sign = "proponents",
    decomposed: DecomposedScores | None = None,
) -> xr.DataArray:
    """Lift of each language in each test example's top k, after each control.

    The controls of `controlled`, the two label strata of `share_by_label` where there are
    examples for both, and those of a decomposition of the scores where it is given. Each stratum has a "none" of its
    own (`AS_DEEP`), as does a decomposition that does not cover the total, whose name says its checkpoints.

    Returns: [control, test, train_language], share over the share expected by chance; 1 is
    chance. NaN where a language has no example of the label. The coordinate `compared_with` names
    the control without control that each is to be compared with. The attribute `left_out` has a line for what
    was not possible, `greatest_lift` is that of a top with nothing but the rarest language.
    Raises: InfluenceError if k exceeds the number of training examples.
    """
    lifts, compared_with = {}, {}
    for name, changed, plain in _all_controlled(scores, properties, decomposed):
        lifts[name] = lift(top_shares(changed, (k,), sign)).isel(k=0, drop=True)
        compared_with[name] = plain
    left_out, expected = [], [chance(scores["train_language"])["expected_percent"]]
    try:
        strata = share_by_label(scores, k, sign)
    except InfluenceError as error:
        left_out.append(f"label strata: {error}")
    else:
        left_out += strata.attrs["left_out"]
        by_stratum = _chance(strata)
        expected.append(by_stratum)
        by_label = lift(strata["share_percent"].assign_coords(expected_percent=by_stratum))
        as_deep = strata["as_deep_percent"] / expected[0]
        for name, plain in AS_DEEP.items():
            lifts[plain] = as_deep.sel(label=name, drop=True)
            lifts[name] = by_label.sel(label=name, drop=True)
            compared_with |= {plain: plain, name: plain}
    parts = [found.drop_vars("expected_percent", errors="ignore") for found in lifts.values()]
    stacked = xr.concat(parts, "control", coords="minimal", compat="override", combine_attrs="drop")
    stacked = stacked.assign_coords(
        control=list(lifts),
        compared_with=("control", [compared_with.get(name, NO_CONTROL) for name in lifts]),
    ).rename("lift")
    greatest = max(float(100.0 / levels.min()) for levels in expected)
    return stacked.assign_attrs(k=k, sign=sign, left_out=tuple(left_out), greatest_lift=greatest)


def remaining_lift(lifts: Mapping[int, xr.DataArray]) -> xr.Dataset:
    """How much of each language's lift remains after each control, over the runs of a study.

    `lifts`, by the seed of the run, as `lifts_after_controls` returns them.

    Returns: what `combine_seeds` returns, [control, test_language, train_language], and
    `remaining_percent`: (lift - 1) / (lift without control - 1), in percent: 100 if the control
    changes nothing, 0 if it explains all, negative if it reverses the effect, above 100 if it hid some of it. NaN
    where the interval of the lift without control contains 1: there is no effect to explain. `remaining_low` and
    `remaining_high` are its interval (`remaining_intervals`); NaN where the data set no limit. The lift
    without control is that of the control which `compared_with` names. `change`, `change_low` and `change_high`: the
    lift after the control less that without, paired by test example and run, with the interval of the difference;
    without one where the control changes too few test examples. `change_signs_agree` is false where one run rises and
    another falls. `change_p_value` and `change_q_value` are those of no
    change (`interval_tests.with_p_values`).
    """
    greatest = max(lift.attrs["greatest_lift"] for lift in lifts.values())
    found = combine_seeds(lifts, _LEVEL_OF_CHANCE, (0.0, greatest))
    compared_with = next(iter(lifts.values()))["compared_with"].values
    changes = {seed: _less_plain(lift) for seed, lift in lifts.items()}

    def interval(level: float) -> xr.Dataset:
        with quiet_about_signs():
            return combine_seeds(changes, 0.0, level=level)

    change = with_p_values(interval)
    # Where a control changes few test examples, most resamples have no spread and set no limit on one side or both.
    limited = np.isfinite(change["low"]) & np.isfinite(change["high"])
    change = change.assign({name: change[name].where(limited) for name in ("low", "high")})
    columns = ("low", "high", "signs_agree", "p_value", "q_value")
    names = {"mean": "change"} | {name: f"change_{name}" for name in columns}
    found = found.assign({ours: change[name] for name, ours in names.items()})
    plain = found.sel(control=compared_with).assign_coords(control=found["control"].values)
    certain = (plain["low"] > _LEVEL_OF_CHANCE) | (plain["high"] < _LEVEL_OF_CHANCE)
    excess = (plain["mean"] - _LEVEL_OF_CHANCE).where(certain)
    remaining = ((found["mean"] - _LEVEL_OF_CHANCE) / excess).transpose(*found["mean"].dims)
    limits = remaining_intervals(
        {seed: lift - _LEVEL_OF_CHANCE for seed, lift in lifts.items()},
        {seed: _plain(lift) - _LEVEL_OF_CHANCE for seed, lift in lifts.items()},
        remaining,
    )
    return found.assign(
        remaining_percent=100.0 * remaining,
        remaining_low=100.0 * limits["low"],
        remaining_high=100.0 * limits["high"],
    ).assign_coords(compared_with=("control", compared_with))


def _plain(lifts: xr.DataArray) -> xr.DataArray:
    """For each control the lift that it is compared with."""
    plain = lifts.sel(control=lifts["compared_with"].values)
    return lifts.copy(data=plain.transpose(*lifts.dims).values)


def _less_plain(lifts: xr.DataArray) -> xr.DataArray:
    """Each control's lift less that which it is compared with."""
    return lifts.copy(data=lifts.values - _plain(lifts).values)


def _all_controlled(
    scores: xr.DataArray, properties: xr.Dataset, decomposed: DecomposedScores | None
) -> Iterator[tuple[str, xr.DataArray, str]]:
    """Yield (name, scores [test, train], what they are compared with), those of a decomposition last."""
    for name, changed in controlled(scores, properties):
        yield name, changed, NO_CONTROL
    if decomposed is None:
        return
    plain = NO_CONTROL
    if not decomposed.covers_total:
        plain = f"none, checkpoint {', '.join(map(str, decomposed.checkpoints))}"
        yield plain, decomposed.by_group.sum("group"), plain
    for name, changed in decomposed.controlled():
        yield name, changed, plain


def _same_label(scores: xr.DataArray) -> npt.NDArray[np.bool_]:
    """Whether training and test example have the same label, [test, train]."""
    test, train = (scores[f"{split}_label"].values.astype(object) for split in ("test", "train"))
    same: npt.NDArray[np.bool_] = np.equal.outer(test, train).astype(np.bool_)
    return same


def _among(
    scores: xr.DataArray, name: str, allowed_MN: npt.NDArray[np.bool_], k: int, sign: Sign
) -> xr.Dataset:
    """Shares of the first of those training examples that are allowed for a test example, as many as in k of all."""
    available_M = allowed_MN.sum(axis=1)
    if not available_M.any():
        raise InfluenceError(f"no test example has a training example under “{name}”")
    k_M = np.maximum(np.round(k * available_M / scores.sizes["train"]).astype(int), 1)
    values = scores.transpose("test", "train")
    last = -np.inf if sign == "proponents" else np.inf
    chosen = values.copy(data=np.where(allowed_MN, values.values, last))
    codes_N, languages = language_codes(scores["train_language"])
    member_NL = np.equal.outer(codes_N, np.arange(len(languages))).astype(np.float64)
    share_ML, as_deep_ML = (
        part_in_top(ranked, k_M, sign) @ member_NL / k_M[:, None] for ranked in (chosen, values)
    )
    expected_ML = allowed_MN.astype(np.float64) @ member_NL / np.maximum(available_M, 1)[:, None]
    found = xr.Dataset(
        {
            "share_percent": (("test", "train_language"), 100.0 * share_ML),
            "as_deep_percent": (("test", "train_language"), 100.0 * as_deep_ML),
            "expected_percent": (("test", "train_language"), 100.0 * expected_ML),
        },
        coords={
            **example_coords(scores),
            "train_language": languages,
            "n_train": ("train_language", np.bincount(codes_N)),
        },
    )
    return found.where(xr.DataArray(available_M > 0, dims="test"))


def _chance(strata: xr.Dataset) -> xr.DataArray:
    expected = strata["expected_percent"]
    return expected.where(expected > 0).reset_coords(drop=True)
