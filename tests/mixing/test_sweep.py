"""Which mixes a study file asks for: each once, and a clear line for what cannot be."""

import pytest

from sprachbund.analysis.mixes import Sweep
from sprachbund.configuration import StudyConfig
from sprachbund.errors import ConfigurationError
from sprachbund.mixing.sweep import plan_sweep


def sweep(train="en de fr ko", available=1000, counts=100, k=100, **mixing) -> Sweep:
    config = StudyConfig.model_validate(
        {
            "model": "some-model",
            "data": {"train": "train.jsonl", "test": "test.jsonl"},
            "languages": {"train": train.split()},
            "train_per_language": counts,
            "analysis": {"k": k},
            "mixing": mixing,
        }
    )
    return plan_sweep(config, dict.fromkeys(train.split(), available))


def test_by_default_every_language_is_scaled_left_out_alone_and_in_pairs():
    found = sweep()
    names = {mix.name for mix in found.mixes}
    assert len(found.mixes) == 1 + 4 * 3 + 4 + 4 + 6
    assert {"study", "en-x0.5", "en-x2", "ko-x4", "only-de", "without-fr", "en+ko"} <= names
    by_name = {mix.name: mix for mix in found.mixes}
    assert by_name["en-x4"].counts == {"en": 400, "de": 100, "fr": 100, "ko": 100}
    assert by_name["without-fr"].counts == {"en": 100, "de": 100, "ko": 100}
    assert by_name["en+ko"].counts == {"en": 100, "ko": 100}
    assert by_name["en-x4"].percent("en") == pytest.approx(400 / 7)
    assert found.factors["de", 1.0] is found.study
    assert found.left_out == ()


def test_counts_may_differ_by_language():
    found = sweep("en de", counts={"en": 10, "de": 40}, k=1, factors=[0.5])
    assert found.factors["en", 0.5].counts == {"en": 5, "de": 40}
    assert found.alone["de"].counts == {"de": 40}


def test_equal_mixes_are_one():
    three = sweep("en de fr", factors=[])
    assert three.without["fr"] is three.pairs["en", "de"]
    assert len(three.mixes) == 1 + 3 + 3
    two = sweep("en de", factors=[])
    assert two.pairs["en", "de"] is two.study
    assert two.without["de"] is two.alone["en"]
    one = sweep("en", k=1)
    assert [mix.name for mix in one.mixes] == ["study", "en-x0.5", "en-x2", "en-x4"]


def test_only_what_is_asked_for_is_planned():
    found = sweep(
        languages=["ko"], factors=[3], leave_one_out=False, alone=False, pairs=False, k=10
    )
    assert [mix.name for mix in found.mixes] == ["study", "ko-x3"]
    assert found.factors["ko", 1.0] is found.study, "what the factor is compared with"


def test_a_factor_that_there_are_too_few_examples_for_is_left_out_and_named():
    found = sweep(available=250)
    assert ("en", 4.0) not in found.factors
    assert found.left_out[0] == "en at 4x: 400 training examples asked, but there are 250"
    assert len(found.left_out) == 4


def test_attributed_are_the_kinds_that_were_named_and_the_study_to_compare_with():
    found = sweep("en de fr", factors=[2])
    assert [mix.name for mix in found.attributed(["factors"])] == ["study", "en-x2", "de-x2", "fr-x2"]  # fmt: skip
    assert len(found.attributed(["leave_one_out"])) == 1 + 3
    assert found.attributed([]) == ()


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"factors": [0.001]}, "mixing.factors: 0.001 times the 100 training examples of en"),
        ({"train": "en", "factors": [0.5], "k": 60}, "mix en-x0.5 has only 50 .* analysis.k is 60"),
        ({"train": "en", "factors": []}, "mixing: there is no mix beside the study's own"),
        ({"train": "en", "factors": [2], "available": 150}, "own: en at 2x: 200 .* asked, but"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_trained(asked, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        sweep(**asked)
