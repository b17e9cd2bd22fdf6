"""The main findings of a report as sentences, each with the chance level beside its number."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from sprachbund.report.formatting import count, fraction, listing, number, percent
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers

METHOD_NAMES = {"tracin": "TracIn (dot product)", "tracin-cosine": "TracIn with gradient cosine"}


@dataclass(frozen=True)
class Finding:
    """One thing the reader should know: what it is about, and the sentences."""

    topic: str
    text: str


def summarise(numbers: Numbers) -> list[Finding]:
    """What was done and what came out, in the order a reader asks."""
    findings = [_fine_tuning(numbers), _attribution(numbers), _accuracy(numbers)]
    if numbers.trained:
        findings.append(_own_language(numbers))
    findings.append(_other_languages(numbers))
    if numbers.zero_shot:
        findings.append(_zero_shot(numbers))
    if numbers.trained:
        findings += [_opponents(numbers), _dynamics(numbers)]
    findings.append(_caution(numbers))
    return findings


def _fine_tuning(numbers: Numbers) -> Finding:
    data, counts = numbers.data, numbers.train_counts
    labels = [language_label(tag) for tag in numbers.train_languages]
    epochs = number(round(float(numbers.epochs.max()), 2))
    jointly = "jointly on" if len(labels) > 1 else "on"
    return Finding(
        "Fine-tuning",
        f"{data.model} was fine-tuned {jointly} {count(len(labels), 'language')}: "
        f"{listing(labels)}; {_sizes(list(counts.values()))} training examples"
        f"{_in_all(counts)}. It ran for {epochs} {'epoch' if epochs == '1' else 'epochs'}, with "
        f"{_seeds(numbers)}.",
    )


def _attribution(numbers: Numbers) -> Finding:
    counts = numbers.test_counts
    return Finding(
        "Attribution",
        f"{METHOD_NAMES[numbers.data.method]} scored every training example for "
        f"{_sizes(list(counts.values()))} test examples{_in_all(counts)}, in "
        f"{count(len(counts), 'language')}. A share is the percentage of a test example's top "
        f"{numbers.data.k:,} training examples that come from a language, averaged over the test "
        "examples of a language.",
    )


def _accuracy(numbers: Numbers) -> Finding:
    guess = fraction(1 / len(numbers.data.first.labels))
    parts = []
    for languages, name in (
        (numbers.trained, "the languages trained on"),
        (numbers.zero_shot, "the languages never trained on (zero-shot)"),
    ):
        found = {
            tag: numbers.final_accuracy[tag] for tag in languages if tag in numbers.final_accuracy
        }
        if found:
            parts.append(
                f"{fraction(float(np.mean(list(found.values()))))} over {name}{_range(found)}"
            )
    measured = " and ".join(parts) if parts else "not measured"
    return Finding(
        "Accuracy",
        f"After the last checkpoint: {measured}. A guess among the "
        f"{len(numbers.data.first.labels)} labels is right in {guess}.",
    )


def _own_language(numbers: Numbers) -> Finding:
    own = _own(numbers.proponents.mean("seed"), numbers.trained)
    return Finding(
        "Own language",
        f"On average {percent(_mean(own))} of the top {numbers.data.k:,} proponents are in the test "
        f"example's own language, where chance alone gives {percent(_own_chance(numbers))}"
        f"{_range({tag: share / 100 for tag, share in own.items()})}.",
    )


def _other_languages(numbers: Numbers) -> Finding:
    excess = numbers.proponents.mean("seed") - numbers.chance
    pairs = [
        (float(excess.sel(test_language=test, train_language=train)), test, train)
        for test in numbers.trained
        for train in numbers.train_languages
        if test != train
    ]
    if not pairs:
        return Finding("Other languages", "There is no pair of two different training languages.")
    most, least = max(pairs, key=lambda p: p[0]), min(pairs, key=lambda p: p[0])
    return Finding(
        "Other languages",
        f"Farthest above chance between two languages: {_pair(numbers, most)}. "
        f"Farthest below: {_pair(numbers, least)}.",
    )


def _zero_shot(numbers: Numbers) -> Finding:
    share = numbers.proponents.mean("seed")
    sentences = []
    for test in numbers.zero_shot:
        row = (share - numbers.chance).sel(test_language=test)
        train = str(row["train_language"].values[int(row.values.argmax())])
        value = float(share.sel(test_language=test, train_language=train))
        sentences.append(
            f"{language_label(test)} leans most on {language_label(train)} ({percent(value)}; chance "
            f"{percent(float(numbers.chance.sel(train_language=train)))})"
        )
    return Finding("Zero-shot languages", f"{'; '.join(sentences)}.")


def _opponents(numbers: Numbers) -> Finding:
    own = _own(numbers.opponents.mean("seed"), numbers.trained)
    return Finding(
        "Opponents",
        f"Of the {numbers.data.k:,} training examples that speak most against the gold label, "
        f"{percent(_mean(own))} are in the test example's own language "
        f"(chance {percent(_own_chance(numbers))}).",
    )


def _dynamics(numbers: Numbers) -> Finding:
    course = numbers.own_share.mean(["seed", "test_language"])
    said = [
        f"{percent(float(course.sel(checkpoint=step)))} at "
        + _moment(float(numbers.epochs.sel(checkpoint=step)), int(step))
        for step in course["checkpoint"].values
    ]
    if len(said) > 6:
        said = [said[0], said[len(said) // 2], said[-1]]
    return Finding(
        "Dynamics",
        f"The own-language share of each checkpoint taken alone: {listing(said)} "
        f"(chance {percent(_own_chance(numbers))}).",
    )


def _caution(numbers: Numbers) -> Finding:
    smallest = min(numbers.test_counts.values())
    seeds = len(numbers.data.seeds)
    if seeds == 1:
        spread = "With one seed, nothing here says how much another run would differ."
    else:
        deviation = float(numbers.proponents.std("seed", ddof=1).mean())
        spread = (
            f"Between the {seeds} seeds a share differs by {deviation:.1f} points (standard "
            "deviation, averaged over the language pairs)."
        )
    return Finding(
        "How far to trust this",
        f"These are means without confidence intervals, over as few as {count(smallest, 'test example')} "
        f"in a language. {spread} A share above chance is an association in the model's gradients: "
        "only retraining without the examples shows that predictions depend on them.",
    )


def _seeds(numbers: Numbers) -> str:
    seeds = numbers.data.seeds
    return f"{count(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"


def _sizes(sizes: list[int]) -> str:
    if min(sizes) == max(sizes):
        return f"{sizes[0]:,}"
    return f"{min(sizes):,} to {max(sizes):,}"


def _in_all(counts: dict[str, int]) -> str:
    if len(counts) == 1:
        return ""
    return f" in each language ({sum(counts.values()):,} in all)"


def _range(values: dict[str, float]) -> str:
    if len(values) < 2:
        return "".join(f" ({tag})" for tag in values)
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    return (
        f" (from {fraction(values[low])} for {language_label(low)} to {fraction(values[high])} "
        f"for {language_label(high)})"
    )


def _own(share: xr.DataArray, languages: tuple[str, ...]) -> dict[str, float]:
    return {tag: float(share.sel(test_language=tag, train_language=tag)) for tag in languages}


def _own_chance(numbers: Numbers) -> float:
    return float(numbers.chance.sel(train_language=list(numbers.trained)).mean())


def _mean(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values())))


def _pair(numbers: Numbers, found: tuple[float, str, str]) -> str:
    _, test, train = found
    share = numbers.proponents.mean("seed").sel(test_language=test, train_language=train)
    chance = numbers.chance.sel(train_language=train)
    return (
        f"{language_label(test)} takes {percent(float(share))} of its proponents from "
        f"{language_label(train)} (chance {percent(float(chance))})"
    )


def _moment(epoch: float, step: int) -> str:
    return "the starting point" if step == 0 else f"epoch {number(round(epoch, 2))}"
