"""The summary says what was done, repeats what each section found, and what to doubt."""

import pytest
from made_up_report import made_up

from sprachbund.report import formatting
from sprachbund.report.numbers import Numbers
from sprachbund.report.section import Section
from sprachbund.report.summary import summarise


def sentences(**changes: object) -> dict[str, str]:
    sections = [Section("cats", "Cats", "Of cats", ["Cats purr.", "Dogs do not."])]
    return {f.topic: f.text for f in summarise(Numbers(made_up(**changes)), sections)}  # type: ignore[arg-type]


def test_what_was_fine_tuned_on_what_is_stated() -> None:
    said = sentences(seeds=(0, 2))
    assert "a-small-encoder was fine-tuned jointly on 5 languages" in said["Fine-tuning"]
    assert "6 training examples in each language (30 in all)" in said["Fine-tuning"]
    assert "for 3 epochs, with 2 seeds (0, 2)" in said["Fine-tuning"]
    assert "4 test examples in each language (36 in all), in 9 languages" in said["Attribution"]


def test_the_first_finding_of_each_section_is_repeated() -> None:
    assert sentences()["Cats"] == "Cats purr."


def test_languages_without_shown_accuracy_above_a_guess_are_named() -> None:
    data = made_up(seeds=(0, 1))
    learned = data.accuracy.assign(accuracy=0.9)
    is_last = learned["checkpoint"] == learned["checkpoint"].max()
    guessed = learned["language"].isin(["ko", "ur"]) & is_last
    accuracy = learned.assign(accuracy=learned["accuracy"].mask(guessed, 0.5))
    text = " ".join(sentences(seeds=(0, 1), accuracy=accuracy).values())
    assert "In ko Korean and ur Urdu accuracy is not shown to be above that of a guess" in text
    # A run that ends a checkpoint earlier counts by its own last one.
    accuracy = accuracy[~(is_last & (accuracy["seed"] == 1))]
    text = " ".join(sentences(seeds=(0, 1), accuracy=accuracy).values())
    assert "not shown to be above" not in text


def test_few_examples_and_what_the_intervals_are_for_is_admitted() -> None:
    one, two = (sentences(seeds=seeds)["How far to trust this"] for seeds in ((0,), (0, 1)))
    assert "as few as 4 test examples" in one
    assert "other seeds" not in one
    assert "other test examples and other seeds" in two


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5304, "0.530"), (-0.00001234, "−1.23e−05"), (123.4, "123"), (0.0, "0.00"), (12.0, "12.0")],
)
def test_scores_have_three_significant_digits(value: float, text: str) -> None:
    assert formatting.score(value) == text


def test_a_missing_number_is_a_dash() -> None:
    nan = float("nan")
    assert formatting.percent(nan) == formatting.MISSING
    assert formatting.listing(["a"]) == "a"
    assert formatting.listing(["a", "b", "c"]) == "a, b and c"
    assert formatting.points(-3.21) == "−3.2"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((34.21, 30.06, 38.5), "34.2% [30.1, 38.5]"),
        ((20.0, float("nan"), float("nan")), "20.0% [–]"),
        ((float("nan"), 1.0, 2.0), "–"),
        ((-0.01, -1.0, float("inf")), "0.0% [−1.0, ∞]"),
    ],
)
def test_an_interval_follows_its_value(numbers: tuple[float, float, float], text: str) -> None:
    assert formatting.estimate(*numbers) == text


def test_small_probabilities_are_not_written_as_zero() -> None:
    assert formatting.probability(0.0004) == "< 0.001"
    assert formatting.named_probability("q", 0.0004) == "q < 0.001"
    assert formatting.named_probability("p", 0.0321) == "p = 0.032"


@pytest.mark.parametrize(
    ("found", "total", "text"),
    [
        (0, 4, "none of the 4 pairs"),
        (4, 4, "all 4 pairs"),
        (3, 4, "3 of the 4 pairs"),
        (1, 1, "1 of 1 pair"),
    ],
)
def test_how_many_of_all(found: int, total: int, text: str) -> None:
    assert formatting.portion(found, total, "pair") == text
