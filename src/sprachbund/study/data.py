"""The examples of a study, drawn from its corpus: to train on, to attribute, and to measure accuracy on."""

from dataclasses import dataclass
from pathlib import Path

from sprachbund.analysis.config import LANG2VEC
from sprachbund.configuration import StudyConfig
from sprachbund.data.corpus import Corpus
from sprachbund.data.loading import load_corpus
from sprachbund.data.sampling import sample
from sprachbund.errors import ConfigurationError, DataError


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
