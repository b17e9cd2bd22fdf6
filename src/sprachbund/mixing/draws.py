"""Training examples of every mix, nested: what a smaller mix has of a language, a larger one has too.

`sample` draws the same items in all languages; in data with gaps the draw of one language rests on
which others are asked for. Leaving one out must not change the examples of the rest, so every mix
takes the first of one ranking, which begins with the examples of the study itself.
"""

from collections.abc import Iterable, Mapping

import pandas as pd

from sprachbund.analysis.mixes import Mix
from sprachbund.data.corpus import Corpus
from sprachbund.data.sampling import sample

Ranking = Mapping[str, pd.DataFrame]


def rank(corpus: Corpus, train: Corpus, mixes: Iterable[Mix], seed: int) -> Ranking:
    """Training examples by language, as many as any of the mixes has: those of the study (`train`), then others.

    Raises: DataError if the corpus has too few.
    """
    most: dict[str, int] = {}
    for mix in mixes:
        for language, count in mix.counts.items():
            most[language] = max(count, most.get(language, 0))
    return {
        language: _ranked(corpus, train, language, count, seed) for language, count in most.items()
    }


def take(ranking: Ranking, mix: Mix, like: Corpus) -> Corpus:
    """The training examples of a mix, language by language, with the labels and the name of `like`."""
    parts = [ranking[language].iloc[:count] for language, count in mix.counts.items()]
    return Corpus(pd.concat(parts, ignore_index=True), like.labels, like.name)


def _ranked(corpus: Corpus, train: Corpus, language: str, count: int, seed: int) -> pd.DataFrame:
    own = train.frame[train.frame["language"] == language]
    if count <= len(own):
        return own
    drawn = sample(corpus, split="train", languages=[language], per_language=count, seed=seed).frame
    return pd.concat([own, drawn[~drawn["id"].isin(own["id"])]])
