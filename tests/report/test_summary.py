"""The sentences of the summary state the numbers of the analysis, each beside its chance level."""

import numpy as np
import pytest
from made_up_report import TEST, TRAIN, made_up

from sprachbund.analysis.sharing import language_share
from sprachbund.report import formatting
from sprachbund.report.numbers import Numbers
from sprachbund.report.summary import summarise


def sentences(**changes: object) -> dict[str, str]:
    return {f.topic: f.text for f in summarise(Numbers(made_up(**changes)))}  # type: ignore[arg-type]


def test_the_own_language_share_is_stated_beside_chance() -> None:
    share = language_share(made_up().influences[0], 6)
    own = np.mean([float(share.sel(test_language=tag, train_language=tag)) for tag in TRAIN])
    text = sentences()["Own language"]
    assert f"{own:.1f}% of the top 6 proponents" in text
    assert "chance alone gives 20.0%" in text


def test_what_was_fine_tuned_on_what_is_stated() -> None:
    said = sentences(seeds=(0, 2))
    assert "a-small-encoder was fine-tuned jointly on 5 languages" in said["Fine-tuning"]
    assert "6 training examples in each language (30 in all)" in said["Fine-tuning"]
    assert "for 3 epochs, with 2 seeds (0, 2)" in said["Fine-tuning"]
    assert "4 test examples in each language (36 in all), in 9 languages" in said["Attribution"]


def test_accuracy_is_that_of_the_last_checkpoint_and_beside_a_guess() -> None:
    text = sentences()["Accuracy"]
    expected = np.mean([0.8 + 0.004 * TEST.index(tag) for tag in TRAIN])
    assert f"{100 * expected:.1f}% over the languages trained on" in text
    assert "right in 50.0%" in text


def test_zero_shot_languages_are_named_with_whom_they_lean_on() -> None:
    share = language_share(made_up().influences[0], 6).sel(test_language="ko")
    text = sentences()["Zero-shot languages"]
    most = str(share["train_language"].values[share.values.argmax()])
    assert f"ko Korean leans most on {most} " in text
    assert f"({float(share.max()):.1f}%; chance 20.0%)" in text


def test_one_seed_and_few_examples_are_admitted() -> None:
    assert "With one seed" in sentences()["How far to trust this"]
    assert "as few as 4 test examples" in sentences()["How far to trust this"]
    assert "Between the 2 seeds" in sentences(seeds=(0, 1))["How far to trust this"]


def test_without_a_zero_shot_language_there_is_no_word_of_one() -> None:
    said = sentences(train=("en", "de"), test=("en", "de"), k=3)
    assert "Zero-shot languages" not in said
    assert "zero-shot" not in said["Accuracy"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5304, "0.530"), (-0.00001234, "−1.23e−05"), (123.4, "123"), (0.0, "0.00"), (12.0, "12.0")],
)
def test_scores_have_three_significant_digits(value: float, text: str) -> None:
    assert formatting.score(value) == text


def test_a_missing_number_is_a_dash() -> None:
    assert formatting.percent(float("nan")) == formatting.MISSING
    assert formatting.listing(["a"]) == "a"
    assert formatting.listing(["a", "b", "c"]) == "a, b and c"
    assert formatting.points(-3.21) == "−3.2"
