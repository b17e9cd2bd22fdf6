"""The labelled result: totals and top k against brute force, and what it refuses to open."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sprachbund import influence as influence_module
from sprachbund.errors import InfluenceError
from sprachbund.influence import Influence, Sign
from synthetic_influence import arguments, in_memory, scores, write

TRAIN, TEST = ["en", "de"] * 5, ["en", "ko", "de"]
VALUES = scores(3, len(TEST), len(TRAIN))

# Few distinct values, so that ties are common.
tied = arrays(np.float32, (3, 2, 23), elements=st.sampled_from([-1.5, -0.0, 0.0, 0.25, 2.0]))


def brute_force_total(values: np.ndarray, weights: list[float]) -> np.ndarray:
    """The sum over checkpoints, one number at a time, in double precision."""
    n_checkpoints, n_test, n_train = values.shape
    total = np.zeros((n_test, n_train))
    for m in range(n_test):
        for n in range(n_train):
            for c in range(n_checkpoints):
                total[m, n] += weights[c] * float(values[c, m, n])
    return total


def brute_force_top_k(row: np.ndarray, k: int, sign: Sign) -> list[int]:
    """A full sort of (score, position in the training set)."""
    direction = -1 if sign == "proponents" else 1
    return sorted(range(len(row)), key=lambda n: (direction * row[n], n))[:k]


def test_the_total_of_tracin_weights_checkpoints_by_learning_rate() -> None:
    influence = in_memory(VALUES, TRAIN, TEST, method="tracin", learning_rates=(0.0, 0.3, 0.1))
    expected = brute_force_total(VALUES, [0.0, 0.3, 0.1])
    np.testing.assert_allclose(influence.total().values, expected, rtol=1e-14)
    assert influence.total().dtype == np.float64


def test_the_total_of_cosine_is_the_plain_sum_without_the_starting_point() -> None:
    influence = in_memory(VALUES, TRAIN, TEST, method="tracin-cosine")
    expected = brute_force_total(VALUES, [0.0, 1.0, 1.0])
    np.testing.assert_allclose(influence.total().values, expected, rtol=1e-14)


def test_without_a_starting_point_every_checkpoint_counts() -> None:
    whole = in_memory(VALUES, TRAIN, TEST)
    trained = Influence(whole.dataset.isel(checkpoint=slice(1, None)))
    np.testing.assert_array_equal(trained.total().values, whole.total().values)


@pytest.mark.parametrize("method", ["tracin", "tracin-cosine"])
def test_a_starting_point_alone_has_no_total(method: str) -> None:
    start = in_memory(VALUES[:1], TRAIN, TEST, method=method, learning_rates=(0.0,))
    with pytest.raises(InfluenceError, match="only the starting point"):
        start.total()
    assert start.top_k(2, checkpoint=0).sizes == {"test": 3, "rank": 2}


def test_learning_rates_of_zero_have_no_total() -> None:
    influence = in_memory(VALUES, TRAIN, TEST, method="tracin", learning_rates=(0.0, 0.0, 0.0))
    with pytest.raises(InfluenceError, match="learning rate 0"):
        influence.total()


@settings(max_examples=60, deadline=None)
@given(values=tied, k=st.integers(1, 23), sign=st.sampled_from(["proponents", "opponents"]))
def test_top_k_is_the_head_of_a_stable_full_sort(values: np.ndarray, k: int, sign: Sign) -> None:
    influence = in_memory(values, ["en"] * 23, ["en", "de"])
    top = influence.top_k(k, sign)
    total = brute_force_total(values, [0.0, 1.0, 1.0])
    for m in range(2):
        expected = brute_force_top_k(total[m], k, sign)
        assert top["train_index"].values[m].tolist() == expected
        assert top["train"].values[m].tolist() == [f"train-{n}" for n in expected]
        np.testing.assert_array_equal(top["score"].values[m], total[m][expected])


@pytest.mark.parametrize("sign", ["proponents", "opponents"])
@pytest.mark.parametrize("block_nbytes", [1, 500, 64 * 2**20])
def test_blocks_along_the_training_set_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: Sign, block_nbytes: int
) -> None:
    monkeypatch.setattr(influence_module, "_BLOCK_NBYTES", block_nbytes)
    values = np.round(scores(3, 3, 40))  # rounded: ties within blocks and across them
    stored = write(tmp_path / "i", values, arguments(["en", "de"] * 20, TEST))
    total = brute_force_total(values, [0.0, 0.3, 0.1])
    np.testing.assert_allclose(stored.total().values, total, rtol=1e-14)
    for k in (1, 7, 40):
        found = stored.top_k(k, sign)["train_index"].values
        exact = stored.total().values
        for m in range(3):
            assert found[m].tolist() == brute_force_top_k(exact[m], k, sign)


def test_one_checkpoint_is_ranked_by_its_own_scores() -> None:
    influence = in_memory(VALUES, TRAIN, TEST, method="tracin")
    for position, step in enumerate((0, 10, 20)):
        np.testing.assert_array_equal(influence.at(step).values, VALUES[position])
        top = influence.top_k(4, checkpoint=step)["train_index"].values
        for m in range(len(TEST)):
            assert top[m].tolist() == brute_force_top_k(VALUES[position, m], 4, "proponents")
    with pytest.raises(InfluenceError, match="no checkpoint 15; there are 0, 10, 20"):
        influence.at(15)


def test_proponents_of_one_example_come_with_their_texts(tmp_path: Path) -> None:
    influence = write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    total = brute_force_total(VALUES, [0.0, 0.3, 0.1])
    for sign, table in (
        ("proponents", influence.proponents("test-1", 4)),
        ("opponents", influence.opponents("test-1", 4)),
    ):
        expected = brute_force_top_k(total[1], 4, sign)  # type: ignore[arg-type]
        assert table["rank"].tolist() == [1, 2, 3, 4]
        assert table["id"].tolist() == [f"train-{n}" for n in expected]
        assert table["language"].tolist() == [TRAIN[n] for n in expected]
        assert table["text"].tolist() == [f"{TRAIN[n]} τεξτ 文 {n}" for n in expected]
        np.testing.assert_allclose(table["score"], total[1][expected], rtol=1e-14)
        assert list(table.columns) == [
            *("rank", "id", "language", "item", "group", "label", "text", "text_pair", "score")
        ]
    with pytest.raises(InfluenceError, match=r'no test example has the id "test1"; .* "test-1"'):
        influence.proponents("test1")


@pytest.mark.parametrize("k", [0, -1, 11, 100])
def test_a_k_outside_the_training_set_is_refused_with_both_numbers(k: int) -> None:
    influence = in_memory(VALUES, TRAIN, TEST)
    with pytest.raises(InfluenceError, match=f"k is {k}, but there are 10 training examples"):
        influence.top_k(k)


def test_an_unknown_sign_is_refused() -> None:
    with pytest.raises(InfluenceError, match='sign is "best"'):
        in_memory(VALUES, TRAIN, TEST).top_k(1, "best")  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_a_number_is_never_ranked_or_added(bad: float) -> None:
    values = VALUES.copy()
    values[2, 1, 7] = bad
    influence = in_memory(values, TRAIN, TEST)
    words = 'training example "train-7" on test example "test-1" at checkpoint 20'
    for question in (influence.total, lambda: influence.top_k(2), lambda: influence.at(20)):
        with pytest.raises(InfluenceError, match=words):
            question()
    influence.at(10)
    influence.proponents("test-0")  # untouched by the other's bad number


def test_languages_are_in_order_of_appearance_and_zero_shot_ones_last() -> None:
    influence = in_memory(scores(3, 3, 4), ["fr", "de", "fr", "en"], ["ko", "en", "fr"])
    assert influence.train_languages == ("fr", "de", "en")
    assert influence.test_languages == ("ko", "en", "fr")
    assert influence.languages == ("fr", "de", "en", "ko")
    assert influence.checkpoints == (0, 10, 20)
    assert influence.labels == ("no", "yes")


def test_provenance_is_read_back(tmp_path: Path) -> None:
    influence = write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    assert influence.provenance == {"model": "made up", "seed": 0}


def refusal(path: Path) -> str:
    with pytest.raises(InfluenceError) as caught:
        Influence.open(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_an_influence_result_is_not_opened(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no zarr.json" in refusal(tmp_path / "empty")
    (tmp_path / "file").write_text("text")
    assert "no zarr.json" in refusal(tmp_path / "file")
    zarr.create_group(tmp_path / "other", zarr_format=3)
    assert "not an influence result (no format_version)" in refusal(tmp_path / "other")
    (tmp_path / "i.partial").mkdir()
    assert "is not finished; run it again" in refusal(tmp_path / "i.partial")
    assert "is not finished (i.partial is there)" in refusal(tmp_path / "i")


def test_a_newer_format_says_what_to_install(tmp_path: Path) -> None:
    write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    path = tmp_path / "i" / "zarr.json"
    content = json.loads(path.read_text())
    content["attributes"] |= {"format_version": 99, "sprachbund_version": "7.1"}
    path.write_text(json.dumps(content))
    message = refusal(tmp_path / "i")
    assert "format version 99" in message
    assert "sprachbund 7.1: install that" in message


def test_a_dataset_that_lacks_something_is_refused() -> None:
    dataset = in_memory(VALUES, TRAIN, TEST).dataset
    cases: list[tuple[Any, str]] = [
        (dataset.drop_vars("influence"), "variable influence"),
        (dataset.transpose("train", "test", "checkpoint"), "variable influence"),
        (dataset.drop_vars(["train_item", "epoch"]), "lacks the coordinates epoch, train_item"),
        (dataset.assign_attrs(method="astrology"), 'method "astrology"'),
        (dataset.isel(test=slice(0)), "is empty"),
    ]
    for broken, words in cases:
        with pytest.raises(InfluenceError, match=words):
            Influence(broken)


def test_the_documentation_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "influence.zarr", VALUES, arguments(TRAIN, TEST))
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs" / "influence.md"
    snippets = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    for snippet in snippets:
        exec(compile(snippet, str(page), "exec"), names)
    assert names["top"].sizes == {"test": 3, "rank": 3}
    german = brute_force_total(VALUES, [1.0, 0.0, 0.0])[:, 1::2]
    np.testing.assert_allclose(names["german"][0], german, rtol=1e-6)
    np.testing.assert_allclose(
        names["by_language"].sel(train_language="de")[0], german.mean(1), rtol=1e-5
    )


def test_the_documentation_names_every_coordinate_and_variable(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "influence.md").read_text(encoding="utf-8")
    dataset = write(tmp_path / "i", VALUES, arguments(TRAIN, TEST)).dataset
    for name in (*dataset.coords, *dataset.data_vars, *dataset.attrs):
        assert f"`{name}`" in page, name


def test_it_says_what_it_is() -> None:
    assert repr(in_memory(VALUES, TRAIN, TEST)) == (
        "<Influence tracin-cosine: 10 training examples (en, de), 3 test examples (en, ko, de), 3 checkpoints>"
    )
