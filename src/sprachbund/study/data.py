"""The examples of a study, drawn from its corpus: to train on, to attribute, and to measure accuracy on."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from sprachbund.analysis.config import LANG2VEC
from sprachbund.configuration import StudyConfig
from sprachbund.data.corpus import Corpus
from sprachbund.data.languages import quoted
from sprachbund.data.loading import load_corpus
from sprachbund.data.sampling import sample
from sprachbund.errors import ConfigurationError, DataError, SprachbundWarning


@dataclass(frozen=True)
class StudyData:
    """The sampled examples of a study."""

    train: Corpus
    test: Corpus
    evaluation: Corpus


def draw(config: StudyConfig, base: Path) -> StudyData:
    """Load the corpus that a study names and draw its examples; relative paths start at `base`.

    Raises: DataError, ConfigurationError if the data cannot give what the study asks for.
    """
    return draw_from(load_corpus(config.data, config.languages.all, base), config, base)


def draw_from(corpus: Corpus, config: StudyConfig, base: Path) -> StudyData:
    """Draw the examples of a study from its corpus. Raises: as `draw`."""
    if len(corpus.labels) < 2:
        raise DataError(
            f'{corpus.name}: "{corpus.labels[0]}" is the only label; expected at least two to tell apart'
        )
    _warn_of_odd_labels(corpus)
    train = sample(
        corpus,
        split="train",
        languages=config.languages.train,
        per_language=config.train_per_language,
        seed=config.seed,
    )
    if config.analysis.k > len(train):
        raise ConfigurationError(
            f"analysis.k is {config.analysis.k}, but there are only {len(train)} training examples "
            "to rank; lower k or raise train_per_language"
        )
    distances = config.analysis.distances
    if distances not in ("", LANG2VEC) and not (base / distances).is_file():
        raise ConfigurationError(
            f"analysis.distances: there is no file {base / distances}; name one, or write {LANG2VEC}"
        )
    return StudyData(
        train,
        _test_rows(config, corpus, config.test_per_language),
        _test_rows(config, corpus, config.evaluation_per_language),
    )


def _test_rows(config: StudyConfig, corpus: Corpus, per_language: int | None) -> Corpus:
    languages = config.languages.test
    if per_language is None:
        return corpus.select(split="test", languages=languages)
    return sample(
        corpus, split="test", languages=languages, per_language=per_language, seed=config.seed
    )


def _warn_of_odd_labels(corpus: Corpus) -> None:
    """A slip of the pen in one row makes a class of its own."""
    written: dict[str, list[str]] = {}
    for label in corpus.labels:
        written.setdefault(label.strip().casefold(), []).append(label)
    alike = [labels for labels in written.values() if len(labels) > 1]
    rows = corpus.frame["label"].value_counts()
    single = [str(label) for label, count in rows.items() if count == 1] if len(corpus) > 50 else []
    odd = [
        f"{quoted(one)} and {quoted(other)} differ by case or blanks alone"
        for one, other, *_ in alike
    ]
    odd += [f"{quoted(label)} has a single row of {len(corpus):,}" for label in single]
    if odd:
        warnings.warn(
            f"{corpus.name}: each label is a class of its own, and {'; '.join(odd[:3])}. If that is a slip, mend it",
            SprachbundWarning,
            stacklevel=3,
        )
