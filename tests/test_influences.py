"""Several seeds as one: opened by their names, asked as the analysis asks them, compared seed by seed."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import sprachbund
from sprachbund import Influence, Influences
from sprachbund.analysis.overlap import overlap
from sprachbund.errors import InfluenceError, SprachbundWarning
from synthetic_influence import arguments, in_memory, scores, write

TRAIN, TEST = ["en", "de", "fr"] * 20, ["en", "ko", "de", "en"] * 3
ITEMS = [str(n // 3) for n in range(60)]
QUIET = pytest.mark.filterwarnings("ignore:seeds .* disagree on the sign")


def run(seed: int, n_train: int = 60) -> Influence:
    values = scores(3, 12, 60, seed)[:, :, :n_train]
    loss = np.random.default_rng(seed).random((3, 12))
    return in_memory(values, TRAIN[:n_train], TEST, train_item=ITEMS[:n_train], test_loss=loss)


RUNS = {seed: run(seed) for seed in (11, 3, 7)}
ALL = Influences(RUNS)


def shares_by_hand(values: np.ndarray, k: int) -> np.ndarray:
    """Mean percentage of the top k of English test examples, by training language."""
    tests = [m for m, language in enumerate(TEST) if language == "en"]
    tops = [sorted(range(60), key=lambda n: -values[m, n])[:k] for m in tests]
    return np.mean(
        [[100 * sum(TRAIN[n] == name for n in top) / k for name in TRAIN[:3]] for top in tops], 0
    )


@QUIET
def test_means_and_deviations_are_those_of_the_seeds() -> None:
    found = ALL.share(k=10).sel(test_language="en")
    by_seed = [shares_by_hand(RUNS[seed].total().values, 10) for seed in (3, 7, 11)]
    np.testing.assert_allclose(found["mean"], np.mean(by_seed, axis=0))
    np.testing.assert_allclose(found["seed_standard_deviation"], np.std(by_seed, axis=0, ddof=1))
    course = ALL.share_by_checkpoint(k=10).sel(test_language="en", scores="alone", checkpoint=10)
    one = [shares_by_hand(RUNS[seed].at(10).values, 10) for seed in (3, 7, 11)]
    np.testing.assert_allclose(course["mean"], np.mean(one, axis=0))
    np.testing.assert_allclose(course["expected_percent"], 100 / 3)


@QUIET
def test_the_last_running_sum_is_the_total() -> None:
    for course, whole in (
        (ALL.share_by_checkpoint(10), ALL.share(10)),
        (ALL.mass_by_checkpoint(), ALL.mass()),
        (ALL.mean_influence_by_checkpoint(), ALL.mean_influence()),
        (RUNS[3].mass_by_checkpoint("opponents"), RUNS[3].mass("opponents")),
    ):
        last = course.sel(scores="running").isel(checkpoint=-1)
        for name in ("mean", "low", "high"):
            np.testing.assert_allclose(last[name], whole[name], rtol=1e-6)


@QUIET
def test_every_question_can_be_asked_of_all_seeds() -> None:
    coords = {"language": ["en", "de", "fr"], "other_language": ["en", "de", "fr"]}
    values = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0.0]])
    distance = xr.DataArray(values, dims=tuple(coords), coords=coords)
    given = {
        "relations": {"distances": xr.Dataset({"d": distance}), "k": 10},
        "overlap": {"other": ALL, "k": 10},
    }
    public = [name for name in vars(sprachbund.questions.Questions) if not name.startswith("_")]
    for name in public:
        question = getattr(ALL, name)
        takes_k = "k" in question.__func__.__annotations__
        found = question(**given.get(name, {"k": 10} if takes_k else {}))
        assert isinstance(found, xr.Dataset), name
        if "mean" in found:
            assert (found["seed_standard_deviation"] > 0).any(), name


def test_a_study_is_opened_by_its_folder_or_by_paths(tmp_path: Path) -> None:
    given = arguments(TRAIN, TEST)
    for seed in (10, 2):
        write(tmp_path / f"seed-{seed}.zarr", scores(3, 12, 60, seed), given)
    (tmp_path / "notes.txt").touch()
    found = Influences.open(tmp_path)
    assert found.seeds == (2, 10)
    np.testing.assert_array_equal(found.runs[10].at(10), scores(3, 12, 60, 10)[1])
    assert Influences.open([tmp_path / "seed-10.zarr"]).seeds == (10,)
    (tmp_path / "seed-3.zarr.partial").mkdir()
    with pytest.warns(SprachbundWarning, match=r"seed-3.zarr.partial is not finished and left out"):
        assert Influences.open(str(tmp_path)).seeds == (2, 10)
    (tmp_path / "mine.zarr").mkdir()
    with pytest.raises(InfluenceError, match=r"mine.zarr: the name has no seed; expected seed-0.z"):
        Influences.open([tmp_path / "mine.zarr"])
    with pytest.raises(InfluenceError, match="seed 2 is given twice"):
        Influences.open([tmp_path / "seed-2.zarr", tmp_path / "." / "seed-2.zarr"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InfluenceError, match="has no influence result"):
        Influences.open(tmp_path / "empty")
    with pytest.raises(InfluenceError, match="is not a folder; expected the folder influence"):
        Influences.open(tmp_path / "nowhere")


def test_studies_are_compared_over_the_seeds_of_both() -> None:
    other = Influences({seed: run(seed + 100, 48) for seed in (7, 11, 12)})
    found = ALL.overlap(other, k=10)
    pairs = [overlap(RUNS[seed], other.runs[seed], 10)["jaccard"] for seed in (7, 11)]
    korean = pairs[0]["test_language"].values == "ko"
    expected = [pair.values[korean].mean() for pair in pairs]
    cell = found.sel(test_language="ko")
    assert float(cell["jaccard"]) == pytest.approx(np.mean(expected))
    assert float(cell["seed_standard_deviation"]) == pytest.approx(np.std(expected, ddof=1))
    with pytest.raises(InfluenceError, match="no seed is in both: 3, 7, 11 here, 12 in the other"):
        ALL.overlap(Influences({12: other.runs[12]}))
    with pytest.raises(InfluenceError, match=r"a single run: .* runs\[seed\].overlap"):
        ALL.overlap(RUNS[3])  # type: ignore[arg-type]
    with pytest.raises(InfluenceError, match="the other is several runs"):
        RUNS[3].overlap(ALL)  # type: ignore[arg-type]


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(InfluenceError, match="there is no influence result"):
        Influences({})
    tracin = in_memory(scores(3, 12, 60), TRAIN, TEST, method="tracin")
    with pytest.raises(InfluenceError, match=r"tracin-cosine \(seed 3\), tracin \(seed 4\)"):
        Influences({3: RUNS[3], 4: tracin})
    with pytest.raises(InfluenceError, match=r"60 examples in train and 48\. Compare studies with"):
        Influences({3: RUNS[3], 4: run(4, 48)})
    for changed in (
        {"train_language": ("train", ["de", *TRAIN[1:]])},
        {"test_item": ("test", ["other", *[""] * 11])},
        {"train_label": ("train", ["other", *RUNS[7].dataset["train_label"].values[1:]])},
    ):
        other = Influence(RUNS[7].dataset.assign_coords(changed))
        (name,) = changed
        with pytest.raises(InfluenceError, match=rf"seeds 3 and 7 .* {name} .* \(example 1\)"):
            Influences({3: RUNS[3], 7: other})


def test_a_k_that_is_no_whole_number_is_refused() -> None:
    for k in (5.0, "5", (5, 7.5), None):
        for asked in (RUNS[3].share, RUNS[3].share_test):
            with pytest.raises(InfluenceError, match=r"expected a whole number"):
                asked(k=k)  # type: ignore[arg-type]
    with pytest.raises(InfluenceError, match="no k is given"):
        RUNS[3].share(k=())
    with pytest.raises(InfluenceError, match="one decomposition is given for the runs of seeds 3"):
        ALL.confounds(10, decomposition=object())  # type: ignore[arg-type]
