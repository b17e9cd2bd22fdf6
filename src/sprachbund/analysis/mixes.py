"""The mixes of languages in a sweep, and which question each of them answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STUDY = "study"


@dataclass(frozen=True)
class Mix:
    """So many training examples of each language."""

    name: str
    counts: Mapping[str, int]

    @property
    def n_train(self) -> int:
        return sum(self.counts.values())

    def percent(self, language: str) -> float:
        """The part of the training examples that is in a language."""
        return 100.0 * self.counts.get(language, 0) / self.n_train


@dataclass(frozen=True)
class Sweep:
    """The mixes by the question that they answer. Equal ones are one mix, with one name.

    `study` is the study's own mix, which all others are compared with; `factors` by the language that is scaled
    and the factor; `alone` and `without` by the language; `pairs` by both. `left_out` says in a line each which
    mixes there are too few examples for.
    """

    study: Mix
    factors: Mapping[tuple[str, float], Mix]
    alone: Mapping[str, Mix]
    without: Mapping[str, Mix]
    pairs: Mapping[tuple[str, str], Mix]
    left_out: tuple[str, ...] = ()

    @property
    def mixes(self) -> tuple[Mix, ...]:
        """Each mix once, the study's own first."""
        kinds = (self.factors, self.alone, self.without, self.pairs)
        named = {mix.name: mix for kind in kinds for mix in kind.values()}
        return tuple(({self.study.name: self.study} | named).values())

    def attributed(self, kinds: Sequence[str]) -> tuple[Mix, ...]:
        """The mixes of some kinds (as `mixing.attribute` names them), the study's own first; none for no kinds."""
        by_kind = {
            "factors": self.factors.values(),
            "leave_one_out": self.without.values(),
            "pairs": self.pairs.values(),
        }
        names = {mix.name for kind in kinds for mix in by_kind[kind]}
        return tuple(mix for mix in self.mixes if names and mix.name in {self.study.name, *names})
