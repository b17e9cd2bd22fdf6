"""From the `mixing:` section of a study to its mixes."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from sprachbund.analysis.mixes import STUDY, Mix, Sweep
from sprachbund.configuration import StudyConfig
from sprachbund.errors import ConfigurationError


def plan_sweep(config: StudyConfig, available: Mapping[str, int]) -> Sweep:
    """The mixes that a study asks for; `available` are the training examples that there are, by language.

    Raises: ConfigurationError if there is none, a factor leaves no example of a language, or a mix that is to be
        attributed has fewer than `analysis.k`.
    """
    mixing, languages = config.mixing, config.languages.train
    several = languages if len(languages) > 1 else ()
    maker = _Maker(_counts(config, available))
    scaled, left_out = dict[tuple[str, float], int](), list[str]()
    for (language, factor), count in _scaled(config, maker.counts):
        if count <= available[language]:
            scaled[language, factor] = count
        else:
            there = f"there are {available[language]:,}"
            left_out.append(
                f"{language} at {factor:g}x: {count:,} training examples asked, but {there}"
            )
    sweep = Sweep(
        study=maker.study,
        factors={
            (language, factor): maker.scale(language, factor, count)
            for (language, factor), count in scaled.items()
        },
        alone={one: maker.keep((one,)) for one in several if mixing.alone},
        without={
            one: maker.keep([other for other in languages if other != one])
            for one in several
            if mixing.leave_one_out
        },
        pairs={pair: maker.keep(pair) for pair in combinations(several, 2) if mixing.pairs},
        left_out=tuple(left_out),
    )
    _check(sweep, config)
    return sweep


class _Maker:
    """Makes mixes out of the study's own, each content once.

    A name says what is in the mix and not which question asked for it, so that a run is found again when another
    question is asked.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = counts
        self.study = Mix(STUDY, counts)
        self._known = {frozenset(counts.items()): self.study}

    def scale(self, language: str, factor: float, count: int) -> Mix:
        return self._mix(f"{language}-x{factor:g}", {**self.counts, language: count})

    def keep(self, languages: Sequence[str]) -> Mix:
        dropped = [tag for tag in self.counts if tag not in languages]
        if len(languages) == 1:
            name = f"only-{languages[0]}"
        else:
            name = f"without-{dropped[0]}" if len(dropped) == 1 else "+".join(languages)
        return self._mix(name, {tag: n for tag, n in self.counts.items() if tag in languages})

    def _mix(self, name: str, counts: Mapping[str, int]) -> Mix:
        return self._known.setdefault(frozenset(counts.items()), Mix(name, counts))


def _counts(config: StudyConfig, available: Mapping[str, int]) -> dict[str, int]:
    given = config.train_per_language
    if given == "all":
        return {language: available[language] for language in config.languages.train}
    return {
        language: given[language] if isinstance(given, dict) else given
        for language in config.languages.train
    }


def _scaled(
    config: StudyConfig, counts: Mapping[str, int]
) -> Iterator[tuple[tuple[str, float], int]]:
    """The count of a language at each factor. The study itself is always among them."""
    for language in config.mixing.languages or config.languages.train:
        for factor in sorted({*config.mixing.factors, 1.0}):
            count = round(factor * counts[language])
            if count == 0:
                raise ConfigurationError(
                    f"mixing.factors: {factor:g} times the {counts[language]} training examples of {language} is "
                    "none; raise the factor (leave_one_out has the mix without the language)"
                )
            yield (language, factor), count


def _check(sweep: Sweep, config: StudyConfig) -> None:
    if len(sweep.mixes) == 1:
        why = "; ".join(sweep.left_out) or "name factors, leave_one_out, alone or pairs"
        raise ConfigurationError(f"mixing: there is no mix beside the study's own: {why}")
    for mix in sweep.attributed(config.mixing.attribute):
        if mix.n_train < config.analysis.k:
            raise ConfigurationError(
                f"mixing.attribute: the mix {mix.name} has only {mix.n_train} training examples to rank, but "
                f"analysis.k is {config.analysis.k}; lower k, or leave this kind of mix out"
            )
