"""The main findings of a report as sentences: what was done, what each section found, what to doubt."""

from collections.abc import Sequence
from dataclasses import dataclass

from sprachbund.analysis.wilson import with_wilson_limits
from sprachbund.report.formatting import count, fraction, listing, number
from sprachbund.report.languages import language_label
from sprachbund.report.numbers import Numbers
from sprachbund.report.section import Section

METHOD_NAMES = {"tracin": "TracIn (dot product)", "tracin-cosine": "TracIn with gradient cosine"}


@dataclass(frozen=True)
class Finding:
    """One thing the reader should know: what it is about, and the sentences.

    `target` is the section that says more, if there is one.
    """

    topic: str
    text: str
    target: str = ""


def summarise(numbers: Numbers, sections: Sequence[Section]) -> list[Finding]:
    """What was done and what came out, in the order a reader asks."""
    return [
        _fine_tuning(numbers),
        _attribution(numbers),
        *(Finding(section.topic, section.findings[0], section.id) for section in sections),
        _caution(numbers),
    ]


def _fine_tuning(numbers: Numbers) -> Finding:
    data, counts = numbers.data, numbers.train_counts
    labels = [language_label(tag) for tag in numbers.train_languages]
    epochs = number(round(float(numbers.epochs.max()), 2))
    jointly = "jointly on" if len(labels) > 1 else "on"
    made = f"{data.model} was fine-tuned {jointly}"
    if data.given_runs:
        of_seed = zip(data.given_runs, data.seeds, strict=True)
        names = listing([f"{name} (seed {seed})" for name, seed in of_seed])
        made = f"Given were {names}, fine-tuned elsewhere, and training examples in"
    return Finding(
        "Fine-tuning",
        f"{made} {count(len(labels), 'language')}: "
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


def _caution(numbers: Numbers) -> Finding:
    smallest = min(numbers.test_counts.values())
    several = len(numbers.data.seeds) > 1
    return Finding(
        "How far to trust this",
        "In brackets are 95% bootstrap-t intervals over other test examples"
        f"{' and other seeds' * several}, from as few as {count(smallest, 'test example')} in a "
        "language; they hold the training examples fixed. A share above chance is an association in "
        "the model's gradients: only retraining without the examples shows that predictions depend "
        f"on them.{_unlearned(numbers)}",
    )


def _unlearned(numbers: Numbers) -> str:
    """Where the model does no better than a guess, what its predictions rest on is no knowledge of the task."""
    guess = 1 / len(numbers.data.first.labels)
    accuracy = numbers.data.accuracy
    of_last = accuracy.groupby("seed")["checkpoint"].transform("max")
    last = accuracy.loc[accuracy["checkpoint"] == of_last]
    surest = with_wilson_limits(last).groupby("language")["low"].max()  # of several seeds
    tags = [str(tag) for tag, low in surest.items() if low <= guess]
    if not tags:
        return ""
    return (
        f" In {listing([language_label(tag) for tag in tags])} accuracy is not shown to be above that of a guess "
        f"({fraction(guess)}): there it is little that these shares tell of."
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
