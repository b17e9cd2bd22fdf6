"""Do intervals cover as often as they claim, and are p-values uniform where there is no effect?

Simulated studies of the usual size: 25 clusters of test examples. The bounds of 93 to 97 percent
leave 1,000 simulations three standard errors of chance.
"""

import numpy as np
import pytest
import xarray as xr
from made_up_values import example_values, score_matrix
from scipy.stats import bootstrap, kstest

from sprachbund.analysis.interval_tests import with_p_values
from sprachbund.analysis.measures import (
    mass_share,
    mass_weights,
    mean_influence,
    top_shares,
    top_weights,
)
from sprachbund.analysis.permutation import permutation_test
from sprachbund.analysis.removal_noise import joined, retraining_error
from sprachbund.analysis.seeds import combine_seeds, percentage_over_runs, quiet_about_signs
from sprachbund.analysis.statistics import PERCENT, mean_intervals

SIMULATIONS, CLUSTERS = 1000, 25
LANGUAGES = ["de", "en", "fr"]
RNG = np.random.default_rng  # each test has its own, so that each can be run alone


def covered(found: xr.Dataset, truth: float) -> np.ndarray:
    """Percentage of the simulations whose interval holds the truth, by cell."""
    inside = (found["low"] <= truth) & (truth <= found["high"])
    return 100 * inside.mean("simulation").values


def by_simulation(measured: xr.DataArray, premises: int) -> xr.DataArray:
    """[simulation * test, train_language] to [simulation, test, train_language], with groups."""
    n_test = measured.sizes["test"] // SIMULATIONS
    values = measured.values.reshape(SIMULATIONS, n_test, len(LANGUAGES))
    groups = [str(m * premises // n_test) for m in range(n_test)]
    return example_values(values, ("simulation", "test", "train_language"), group=groups)


def premise_scores(rng: np.random.Generator) -> xr.DataArray:
    """Scores of three hypotheses on each of 25 premises in 1,000 studies; no language matters.

    What a training example is to a premise, it is to all of its hypotheses, or nearly so.
    """
    shape = (SIMULATIONS * CLUSTERS, 45)
    premise = np.repeat(rng.normal(size=shape).astype(np.float32), 3, axis=0)
    values = premise + 0.3 * rng.normal(size=premise.shape).astype(np.float32)
    return score_matrix(values, LANGUAGES * 15, ["ko"] * len(values))


def test_intervals_of_shares_cover_where_no_language_matters() -> None:
    scores = premise_scores(RNG(0))
    measures = (top_shares(scores, (10,))[0], mass_share(scores))
    for measured, name in zip(measures, ("share of the top 10", "mass share"), strict=True):
        cover = covered(mean_intervals(by_simulation(measured, CLUSTERS), PERCENT), 100 / 3)
        assert ((cover > 93) & (cover < 97)).all(), f"{name}: 95% intervals cover in {cover}%"
    free = example_values(
        by_simulation(measures[0], CLUSTERS).values, ("simulation", "test", "train_language")
    )
    cover = covered(mean_intervals(free, PERCENT), 100 / 3)
    assert (cover < 85).all(), "hypotheses of one premise must not pass for independent examples"


def test_intervals_of_mean_influence_cover_where_there_is_none() -> None:
    found = mean_intervals(by_simulation(mean_influence(premise_scores(RNG(1))), CLUSTERS))
    cover = covered(found, 0)
    assert ((cover > 93) & (cover < 97)).all(), f"95% intervals cover in {cover}%"


def skewed(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, float]:
    """Values [simulation, test] of a skewed kind, and their mean."""
    shape = (SIMULATIONS, CLUSTERS)
    if kind == "shares that differ from test to test":
        return rng.binomial(100, rng.beta(0.4, 1.6, size=shape)).astype(float), 20.0
    if kind == "small shares":
        return rng.binomial(100, rng.beta(0.5, 9.5, size=shape)).astype(float), 5.0
    if kind == "few and small counts":
        return 10.0 * rng.binomial(10, 0.05, size=shape), 5.0
    return rng.exponential(size=shape), 1.0


@pytest.mark.parametrize(
    "kind",
    [
        "shares that differ from test to test",
        "small shares",
        "few and small counts",
        "an exponential distribution",
    ],
)
def test_intervals_cover_for_skewed_values(kind: str) -> None:
    values, truth = skewed(RNG(2), kind)
    bounds = (0.0, np.inf) if kind.startswith("an exponential") else PERCENT
    cover = covered(mean_intervals(example_values(values, ("simulation", "test")), bounds), truth)
    assert 93 < cover < 97, f"95% intervals of {kind} cover in {cover}%"


@pytest.mark.parametrize("clusters", [10, 15])
def test_intervals_cover_for_the_few_clusters_of_a_small_study(clusters: int) -> None:
    shape, dims = (SIMULATIONS, clusters), ("simulation", "test")
    shares = RNG([12, clusters]).binomial(100, RNG([13, clusters]).beta(0.4, 1.6, size=shape))
    cover = covered(mean_intervals(example_values(shares.astype(float), dims), PERCENT), 20.0)
    assert 93 < cover < 98, f"95% intervals of shares cover in {cover}%"
    scores = RNG([14, clusters]).normal(size=shape)
    cover = covered(mean_intervals(example_values(scores, dims)), 0.0)
    assert 93 < cover < 97, f"95% intervals of normal values cover in {cover}%"


@pytest.mark.parametrize(("clusters", "most"), [(10, 100), (25, 100), (100, 97)])
def test_intervals_of_what_is_right_or_wrong_are_never_too_short(
    clusters: int, most: float
) -> None:
    """Accuracy, flips: with few clusters the bound for any distribution decides, which is wide."""
    for rate in (0.5, 0.8, 0.95):
        right = RNG([11, clusters]).random((SIMULATIONS, clusters)) < rate
        values = example_values(100.0 * right, ("simulation", "test"))
        cover = covered(mean_intervals(values, PERCENT), 100 * rate)
        assert 93 < cover <= most, f"{rate}: 95% intervals cover in {cover}%"


def test_percentile_and_bca_intervals_are_too_short_where_bootstrap_t_is_not() -> None:
    """Why `ratio_intervals` is a bootstrap-t, which scipy does not have."""
    rng, truth = RNG(9), 10.0
    shares = rng.binomial(100, rng.beta(0.1, 0.9, size=(SIMULATIONS, CLUSTERS))).astype(float)
    for method in ("percentile", "BCa"):
        limits = bootstrap(
            (shares,), np.mean, axis=1, method=method, n_resamples=999, batch=20, rng=rng
        ).confidence_interval
        cover = 100 * np.mean((limits.low <= truth) & (truth <= limits.high))
        assert cover < 93.5, f"{method}, which is simpler, covers in {cover}% and would do"
    found = mean_intervals(example_values(shares, ("simulation", "test")), PERCENT)
    assert covered(found, truth)[0] > 94.5


def test_intervals_cover_for_unequal_clusters_and_languages_that_share_them() -> None:
    rng = RNG(3)
    sizes = rng.integers(1, 4, size=CLUSTERS)
    cluster = np.repeat(np.arange(CLUSTERS), sizes)
    effects = rng.normal(size=(SIMULATIONS, CLUSTERS))[:, cluster]
    values = effects + rng.normal(size=effects.shape)
    language = ["en" if i % 3 else "ko" for i in range(len(cluster))]
    found = mean_intervals(
        example_values(
            values, ("simulation", "test"), language=language, group=[str(c) for c in cluster]
        )
    )
    cover = covered(found, 0)
    assert ((cover > 93) & (cover < 97)).all(), f"95% intervals cover in {cover}%"


def runs_of_studies(
    rng: np.random.Generator, n_seeds: int, seed_deviation: float, clusters: int = CLUSTERS
) -> dict[int, xr.DataArray]:
    tests = rng.normal(size=(SIMULATIONS, clusters))
    return {
        seed: example_values(
            tests
            + seed_deviation * rng.normal(size=(SIMULATIONS, 1))
            + 0.7 * rng.normal(size=tests.shape),
            ("simulation", "test"),
        )
        for seed in range(n_seeds)
    }


@pytest.mark.filterwarnings("ignore:seeds .* disagree on the sign")
@pytest.mark.parametrize(("n_seeds", "clusters"), [(3, 25), (5, 25), (3, 15), (3, 10)])
def test_intervals_over_seeds_cover_for_other_tests_and_other_seeds(
    n_seeds: int, clusters: int
) -> None:
    rng = RNG([4, n_seeds] if clusters == CLUSTERS else [4, n_seeds, clusters])
    covers = {}
    # The mean over 25 tests deviates by 0.2: seeds matter not at all, as much, or far more.
    for deviation in (0.0, 0.1, 0.2, 0.5, 1.0):
        runs = runs_of_studies(rng, n_seeds, deviation, clusters)
        covers[deviation] = float(covered(combine_seeds(runs, 0.0), 0)[0])
    assert 93 < np.mean(list(covers.values())) < 97, f"95% intervals cover in {covers}%"
    assert all(93 < cover < 98 for cover in covers.values()), f"one deviation is off: {covers}"
    ignoring = mean_intervals(sum(runs.values()) / n_seeds)  # type: ignore[arg-type]
    assert covered(ignoring, 0)[0] < 80, "the deviation between seeds must be contained"


def test_intervals_of_a_ratio_cover_for_other_tests_and_other_seeds() -> None:
    """Reinforcement, say: rates of 20 test examples with 1 to 8 tries each, in three runs that differ."""
    rng, shape = RNG(15), (3, SIMULATIONS, 20)
    tries = rng.integers(1, 9, shape)
    rates = 0.5 + 0.1 * rng.normal(size=shape[1:]) + 0.06 * rng.normal(size=(*shape[:2], 1))
    made = rng.binomial(tries, rates.clip(0, 1))
    part, whole = (
        example_values(counts.astype(float), ("run", "simulation", "test")).assign_coords(
            run=range(3)
        )
        for counts in (made, tries)
    )
    cover = covered(percentage_over_runs(part, whole), 50.0)
    assert 93 < cover < 97, f"95% intervals cover in {cover}%"


@pytest.mark.parametrize(("retraining", "n_draws", "n_k"), [(0.0, 5, 1), (0.3, 5, 1), (1.0, 3, 3)])
def test_intervals_that_contain_the_noise_of_retraining_cover(
    retraining: float, n_draws: int, n_k: int
) -> None:
    """Influence minus a random control, of one retraining each, whose noise moves all test examples together."""
    rng = RNG([16, n_draws, int(10 * retraining)])
    tests = rng.normal(size=(SIMULATIONS, CLUSTERS))
    noise = retraining / CLUSTERS**0.5 * rng.normal(size=(SIMULATIONS, 1))
    draws = retraining / CLUSTERS**0.5 * rng.normal(size=(SIMULATIONS, n_k, n_draws))
    difference = example_values(tests + noise, ("simulation", "test"))
    error = np.sqrt(draws.var(axis=2, ddof=1).mean(axis=1))  # as retraining_error estimates it
    found = joined(
        mean_intervals(difference),
        xr.DataArray(error, dims="simulation").assign_attrs(degrees_of_freedom=(n_draws - 1) * n_k),
        0.95,
        (-np.inf, np.inf),
    )
    cover = covered(found, 0.0)
    assert 93 < cover < 97, f"95% intervals cover in {cover}%"


@pytest.mark.parametrize(("retraining", "n_draws", "n_k"), [(0.0, 5, 1), (0.3, 5, 1), (1.0, 3, 3)])
def test_the_noise_of_retraining_is_estimated_from_the_draws_of_random(
    retraining: float, n_draws: int, n_k: int
) -> None:
    """As above, from what test examples lose by each removal; each retraining moves each of them by itself too.

    Coverage is 93.3 to 96.5 percent (8,000 simulations): near the lower bound, so that it takes more of them.
    """
    simulations = 4 * SIMULATIONS
    rng = RNG([17, n_draws, int(10 * retraining)])
    together = retraining / CLUSTERS**0.5 * rng.normal(size=(simulations, 2, n_k, n_draws, 1))
    values = together + rng.normal(size=(simulations, 2, n_k, n_draws, CLUSTERS))
    values[:, 0, :, 1:] = np.nan  # influence has one draw
    dims = ("measure", "criterion", "k", "draw", "test")
    drops = example_values(values, dims).assign_coords(criterion=["influence", "random"])
    means = drops.mean("draw").isel(k=0)
    difference = means.sel(criterion="influence") - means.sel(criterion="random")
    error = retraining_error(drops, "language").sel(control="random", test_language=["en"])
    found = joined(
        mean_intervals(difference.rename(measure="simulation")),
        error.rename(measure="simulation").drop_vars("control"),
        0.95,
        (-np.inf, np.inf),
    )
    cover = covered(found, 0.0)
    assert 93 < cover < 97, f"95% intervals cover in {cover}%"


@pytest.mark.parametrize(
    ("n_runs", "deviation"),
    [(1, 0.0), *((n, deviation) for n in (2, 3) for deviation in (0.0, 0.1, 0.5, 1.0, 2.0))],
)
def test_p_values_of_intervals_hold_their_levels_where_nothing_differs(
    n_runs: int, deviation: float
) -> None:
    """The mean over the 25 tests deviates by 0.2: seeds matter not at all, or up to ten times as much."""
    rng = RNG([18, n_runs, int(10 * deviation)])
    tests = rng.normal(size=(SIMULATIONS, CLUSTERS))
    runs = {
        seed: example_values(
            tests
            + 0.5 * rng.normal(size=tests.shape)
            + deviation * rng.normal(size=(SIMULATIONS, 1)),
            ("simulation", "test"),
        )
        for seed in range(n_runs)
    }

    def interval(level: float) -> xr.Dataset:
        with quiet_about_signs():
            return combine_seeds(runs, 0.0, level=level)

    p_values = with_p_values(interval, 0.95)["p_value"].values
    for level in (0.3, 0.1, 0.05, 0.01, 0.005, 0.001):
        # Three standard errors of 1,000 simulations above the level; the least, 0.001, may be had by four in them.
        most = level + 3 * (level * (1 - level) / SIMULATIONS) ** 0.5
        found = (p_values <= level).mean()
        assert found <= most, f"p is at most {level} in {100 * found:.1f}% of the simulations"


@pytest.mark.parametrize("parallel", [True, False])
def test_p_values_are_uniform_where_no_language_matters(parallel: bool) -> None:
    """Each simulated study is a test language of its own: its scores are independent."""
    rng = RNG(5)
    values = rng.normal(size=(SIMULATIONS, 90))
    if parallel:
        values += 2 * np.repeat(rng.normal(size=(SIMULATIONS, 30)), 3, axis=1)
    items = [str(n // 3) if parallel else "" for n in range(90)]
    studies = [f"study {i}" for i in range(SIMULATIONS)]
    scores = score_matrix(values, LANGUAGES * 30, studies, train_item=items)
    p_values = permutation_test(scores, 1999)["p_value"].sel(train_language="de").values
    result = kstest(p_values, "uniform")
    assert result.pvalue > 0.01, f"p-values are not uniform: {result}"
    assert 0.03 < (p_values <= 0.05).mean() < 0.07


@pytest.mark.parametrize("translated", [True, False])
def test_p_values_are_uniform_where_hypotheses_share_a_premise(translated: bool) -> None:
    """Three hypotheses of each of 30 premises; what a premise is in a language, it is for all three.

    The premises are in all three languages, or each in one.
    """
    rng = RNG([19, translated])
    n_premises, n_sides = 30, 3 if translated else 1
    shape = (SIMULATIONS, n_premises, 3, n_sides)  # premise, hypothesis, language
    values = rng.normal(size=(SIMULATIONS, n_premises, 1, n_sides)) + 0.5 * rng.normal(size=shape)
    premise, item, language = (
        names.ravel() for names in np.meshgrid(*map(np.arange, shape[1:]), indexing="ij")
    )
    if not translated:
        language = premise % 3
    scores = score_matrix(
        values.reshape(SIMULATIONS, -1),
        [LANGUAGES[code] for code in language],
        [f"study {i}" for i in range(SIMULATIONS)],
        train_item=[f"{p}, {i}" for p, i in zip(premise, item, strict=True)],
        train_group=[str(p) for p in premise],
    )
    p_values = permutation_test(scores, 1999)["p_value"].sel(train_language="de").values
    result = kstest(p_values, "uniform")
    assert result.pvalue > 0.01, f"p-values are not uniform: {result}"
    assert 0.03 < (p_values <= 0.05).mean() < 0.07
    apart = scores.assign_coords(train_group=("train", [""] * scores.sizes["train"]))
    found = permutation_test(apart, 999)["p_value"].sel(train_language="de").values
    assert (found <= 0.05).mean() > 0.15, "the premise must be what makes the difference"


@pytest.mark.parametrize("n_tests", [1, 10])
def test_p_values_of_the_tables_hold_their_level(n_tests: int) -> None:
    """Shares of the top k have ties, which count as being as far off: their p-values may be too large, never too small.

    Those of the mass share are uniform.
    """
    values = RNG(17).normal(size=(SIMULATIONS * n_tests, 90))
    studies = [f"study {i // n_tests}" for i in range(len(values))]
    items = [str(n // 3) for n in range(90)]
    scores = score_matrix(values, LANGUAGES * 30, studies, train_item=items)
    for k in (10, 30):
        found = permutation_test(top_weights(scores, k), 999)["p_value"]
        p_values = found.sel(train_language="de").values
        assert 0.01 < (p_values <= 0.05).mean() < 0.07, f"k = {k}"
    p_values = (
        permutation_test(mass_weights(scores), 999)["p_value"].sel(train_language="de").values
    )
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_labels_that_leave_their_translation_sets_give_p_values_that_are_too_large() -> None:
    rng = RNG(6)
    values = np.repeat(3 * rng.normal(size=(SIMULATIONS, 30)), 3, axis=1)
    values += rng.normal(size=values.shape)
    tests = [f"study {i}" for i in range(SIMULATIONS)]
    free = score_matrix(values, LANGUAGES * 30, tests, train_item=[""] * 90)
    p_values = permutation_test(free, 999)["p_value"].sel(train_language="de").values
    assert (p_values <= 0.05).mean() < 0.01, "items must be what makes the difference"


def test_false_discoveries_are_as_rare_as_claimed_where_no_language_matters() -> None:
    rng = RNG(7)
    train = LANGUAGES * 20
    tests = ["de"] * 5 + ["en"] * 5 + ["ko"] * 5
    items = [str(n // 3) for n in range(60)]
    scores = score_matrix(np.zeros((15, 60)), train, tests, train_item=items)
    found = []
    for seed in range(200):
        weights = top_weights(scores.copy(data=rng.normal(size=scores.shape)), 10)
        found.append(bool((permutation_test(weights, 199, seed=seed)["q_value"] <= 0.1).any()))
    assert np.mean(found) < 0.15, "a study without effect yields findings more often than claimed"


def test_planted_effects_are_found() -> None:
    """German helps Korean a little: the score of a German example is 0.5 deviations higher."""
    rng = RNG(8)
    values = rng.normal(size=(2 * CLUSTERS, 300))
    values[:CLUSTERS, ::3] += 0.5
    items = [str(m % CLUSTERS) for m in range(2 * CLUSTERS)]
    scores = score_matrix(
        values, LANGUAGES * 100, ["ko"] * CLUSTERS + ["en"] * CLUSTERS, test_item=items
    )
    cell = {"test_language": "ko", "train_language": "de"}
    for measured, bounds, none in (
        (top_shares(scores, (50,))[0], PERCENT, 100 / 3),
        (mass_share(scores), PERCENT, 100 / 3),
        (mean_influence(scores), (-np.inf, np.inf), 0.0),
    ):
        found = mean_intervals(measured, bounds)
        assert float(found["low"].sel(cell)) > none
        english = found.sel(test_language="en")
        assert ((english["low"] < none) & (none < english["high"])).all()
    assert float(permutation_test(top_weights(scores, 50))["q_value"].sel(cell)) < 0.01
