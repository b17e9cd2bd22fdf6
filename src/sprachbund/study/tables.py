"""What the tables of a study need beside its influence results: distances, lengths, sub-words, another study."""

import hashlib
from pathlib import Path

import xarray as xr

from sprachbund.analysis.catalogue import Asked
from sprachbund.analysis.config import LANG2VEC
from sprachbund.analysis.subwords import token_overlap, type_overlap
from sprachbund.configuration import StudyConfig
from sprachbund.data.corpus import Corpus
from sprachbund.data.distances import lang2vec_distances, read_distances, script_distances
from sprachbund.freshness import files_fingerprint, fingerprint
from sprachbund.influence import Influence
from sprachbund.modeling import load_tokenizer
from sprachbund.study.data import StudyData
from sprachbund.tokens import token_properties, tokens_by_language


def known_of(config: StudyConfig, data: StudyData, base: Path) -> Asked:
    """Read the distances that the study names, and measure what the tokenizer makes of the data.

    Raises: DataError if the distances cannot be read; ModelError if the tokenizer cannot.
    """
    tokenizer = load_tokenizer(config.model.path)
    tokens = tokens_by_language(tokenizer, _texts(config, data))
    distances = _named_distances(config, base)
    distances["script"] = script_distances(config.languages.all)
    known = {"sub-word types": type_overlap(tokens), "sub-words in text": token_overlap(tokens)}
    for name, similarity in known.items():
        distances[name] = 1.0 - similarity
    properties = token_properties(tokenizer, data.train, config.model.max_length)
    name = Path(config.analysis.compare_with).name
    return Asked(distances, properties, other=_compared(config, base), other_name=name)


def _texts(config: StudyConfig, data: StudyData) -> tuple[Corpus, ...]:
    """What sub-words are counted in: where each language has test texts these alone, as they are often parallel."""
    tested = set(data.evaluation.frame["language"])
    return (
        (data.evaluation,) if tested >= set(config.languages.all) else (data.train, data.evaluation)
    )


def distances_fingerprint(config: StudyConfig, base: Path) -> str:
    """What tells whether the distances that a study names have changed: their content, or the name."""
    named = config.analysis.distances
    path = base / named
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else named


def compared_fingerprint(config: StudyConfig, base: Path) -> str:
    """What tells whether the results of the study to compare with have changed."""
    return fingerprint([files_fingerprint(path) for path in _compared_paths(config, base).values()])


def _compared(config: StudyConfig, base: Path) -> dict[int, Influence] | None:
    if not config.analysis.compare_with:
        return None
    paths = _compared_paths(config, base)
    return {seed: Influence.open(path) for seed, path in paths.items()}


def _compared_paths(config: StudyConfig, base: Path) -> dict[int, Path]:
    """The results by seed, in the layout of a study's folder."""
    if not config.analysis.compare_with:
        return {}
    paths = sorted((base / config.analysis.compare_with / "influence").glob("seed-*.zarr"))
    return {int(path.stem.removeprefix("seed-")): path for path in paths}


def _named_distances(config: StudyConfig, base: Path) -> xr.Dataset:
    named, languages = config.analysis.distances, config.languages.all
    if not named:
        return xr.Dataset(coords={dim: list(languages) for dim in ("language", "other_language")})
    by_package = named == LANG2VEC
    found = lang2vec_distances(languages) if by_package else read_distances(base / named, languages)
    return found.reindex(language=list(languages), other_language=list(languages))
