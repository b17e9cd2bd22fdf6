"""Shares by checkpoint, against the share of each checkpoint alone."""

import numpy as np
import pytest

from sprachbund.analysis.dynamics import own_language_share, own_share, share_by_checkpoint
from sprachbund.analysis.sharing import language_share
from sprachbund.errors import InfluenceError
from synthetic_influence import in_memory, scores

TRAIN, TEST = ["de", "en", "en", "fr"] * 6, ["ko", "en", "de", "en"]
INFLUENCE = in_memory(scores(3, len(TEST), len(TRAIN)), TRAIN, TEST)


@pytest.mark.parametrize("sign", ["proponents", "opponents"])
def test_each_checkpoint_has_the_share_matrix_of_its_own_scores(sign: str) -> None:
    shares = share_by_checkpoint(INFLUENCE, 4, sign)  # type: ignore[arg-type]
    assert shares.dims == ("checkpoint", "test_language", "train_language")
    assert shares["epoch"].values.tolist() == [0, 1, 2]
    for step in (0, 10, 20):
        alone = language_share(INFLUENCE, 4, sign, step)  # type: ignore[arg-type]
        np.testing.assert_array_equal(shares.sel(checkpoint=step), alone)


def test_own_language_share_is_the_cell_where_both_languages_agree() -> None:
    own = own_language_share(INFLUENCE, 4)
    assert own.dims == ("checkpoint", "test_language")
    for step in (0, 10, 20):
        alone = language_share(INFLUENCE, 4, checkpoint=step)
        for language in ("en", "de"):
            found = float(own.sel(checkpoint=step, test_language=language))
            assert found == float(alone.sel(test_language=language, train_language=language))


def test_a_zero_shot_language_has_no_own_share_rather_than_none_of_it() -> None:
    own = own_language_share(INFLUENCE, 4)
    assert np.isnan(own.sel(test_language="ko")).all()
    assert not np.isnan(own.sel(test_language=["en", "de"])).any()


def test_chance_stands_beside_the_own_share() -> None:
    own = own_language_share(INFLUENCE, 4)
    assert float(own["expected_percent"].sel(test_language="en")) == pytest.approx(50)
    assert float(own["expected_percent"].sel(test_language="de")) == pytest.approx(25)


def test_own_share_works_on_a_single_matrix() -> None:
    matrix = language_share(INFLUENCE, 4)
    own = own_share(matrix)
    assert own.dims == ("test_language",)
    assert float(own.sel(test_language="de")) == float(
        matrix.sel(test_language="de", train_language="de")
    )


def test_a_language_that_only_the_late_model_relies_on_shows_late() -> None:
    values = np.zeros((3, 1, 8), dtype=np.float32)
    train = ["en", "de"] * 4
    values[0, 0] = [1 if language == "de" else -1 for language in train]
    values[1, 0] = values[0, 0]
    values[2, 0] = -values[0, 0]
    own = own_language_share(in_memory(values, train, ["en"]), 2)
    assert own.sel(test_language="en").values.tolist() == [0, 0, 100]


def test_a_k_larger_than_the_training_set_is_refused() -> None:
    with pytest.raises(InfluenceError, match="k is 100, but there are 24 training examples"):
        own_language_share(INFLUENCE)
