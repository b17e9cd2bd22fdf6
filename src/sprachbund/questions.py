"""What an influence result is asked, in one call each.

The answers are the functions of `sprachbund.analysis`, which is built upon `influence`: it is
imported when a question is asked, and never by importing this module (docs/decisions.md).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import xarray as xr

from sprachbund.errors import InfluenceError

if TYPE_CHECKING:
    from sprachbund.analysis.properties import Given
    from sprachbund.decomposition.result import Decomposition
    from sprachbund.influence import Influence

Sign = Literal["proponents", "opponents"]

Ks = int | Sequence[int]
"""One k, or several: then the answer has the dim `k`."""


class Questions:
    """The questions of a study, to one run (`Influence`) or to one for each seed (`Influences`).

    Unless said otherwise an answer holds `mean`, `low`, `high` (a 95 percent interval for other
    test examples, clustered by item and group) and `n_clusters`, and ends in the dims
    [test_language, train_language]. Each raises an InfluenceError where k exceeds the number of
    training examples, or the data does not allow the question.
    """

    @property
    def _runs(self) -> "dict[int, Influence]":
        from sprachbund.influence import Influence

        assert isinstance(self, Influence)
        return {0: self}

    def share(self, k: Ks = 100, sign: Sign = "proponents") -> xr.Dataset:
        """Percentage of each test example's top k that each training language contributes.

        Choenni et al. (2023), section 6. `expected_percent` [train_language] is chance.
        """
        from sprachbund.analysis import answers

        return _for(k, answers.share(self._runs, _several(k), sign))

    def lift(self, k: Ks = 100, sign: Sign = "proponents") -> xr.Dataset:
        """`share` over the share expected by chance; 1 is chance."""
        from sprachbund.analysis import answers

        return _for(k, answers.lift(self._runs, _several(k), sign))

    def share_test(self, k: int = 100, sign: Sign = "proponents") -> xr.Dataset:
        """Does the language of training examples matter for `share`? See `permutation_test`.

        Returns: `observed`, `null_mean`, `null_low`, `null_high`, `p_value`, `q_value`.
        """
        from sprachbund.analysis import answers

        return answers.share_test(self._runs, k, sign)

    def mass(self, sign: Sign = "proponents") -> xr.Dataset:
        """Percentage of the positive influence that each training language holds."""
        from sprachbund.analysis import answers

        return answers.mass(self._runs, sign)

    def mass_test(self, sign: Sign = "proponents") -> xr.Dataset:
        """Does the language of training examples matter for `mass`? As `share_test`."""
        from sprachbund.analysis import answers

        return answers.mass_test(self._runs, sign)

    def mean_influence(self) -> xr.Dataset:
        """Mean influence of one training example of a language, in the method's unit; 0 is none."""
        from sprachbund.analysis import answers

        return answers.mean_score(self._runs)

    def mean_influence_test(self) -> xr.Dataset:
        """Does it matter for `mean_influence`? As `share_test`; `observed` and the null values are sums, not means."""
        from sprachbund.analysis import answers

        return answers.mean_score_test(self._runs)

    def dynamics(self, k: int = 100, sign: Sign = "proponents") -> xr.Dataset:
        """Own-language against cross-language share in the course of fine-tuning.

        Returns: [scores, relation, checkpoint, test_language], percent; `scores` is "alone" (of
        each checkpoint) or "running" (the weighted sum so far).
        """
        from sprachbund.analysis import courses

        return courses.dynamics(self._runs, k, sign)

    def own_share_change(self, k: Ks = 100, sign: Sign = "proponents") -> xr.Dataset:
        """How far the own-language share has moved by the last checkpoint: [since, test_language], points.

        The last language is "all", the test examples of all languages that are trained on. `q_value` is over all cells,
        and so over every k asked for.
        """
        from sprachbund.analysis import courses

        return _for(k, courses.own_share_change(self._runs, _several(k), sign))

    def share_by_checkpoint(self, k: int = 100, sign: Sign = "proponents") -> xr.Dataset:
        """`share` in the course of fine-tuning: [scores, checkpoint, test_language, train_language].

        `scores` is "alone" (of each checkpoint) or "running" (the weighted sum so far).
        """
        from sprachbund.analysis import courses

        return courses.share_by_checkpoint(self._runs, k, sign)

    def mass_by_checkpoint(self, sign: Sign = "proponents") -> xr.Dataset:
        """`mass` in the course of fine-tuning, as `share_by_checkpoint`."""
        from sprachbund.analysis import courses

        return courses.mass_by_checkpoint(self._runs, sign)

    def mean_influence_by_checkpoint(self) -> xr.Dataset:
        """`mean_influence` in the course of fine-tuning, as `share_by_checkpoint`."""
        from sprachbund.analysis import courses

        return courses.mean_score_by_checkpoint(self._runs)

    def learning(self) -> xr.Dataset:
        """Accuracy and loss on the test examples: [measure, checkpoint, test_language]."""
        from sprachbund.analysis import courses

        return courses.learning(self._runs)

    def reinforcement(self, k: Ks = 100) -> xr.Dataset:
        """How many proponents from other languages are translations of the own language's.

        Returns: `reinforcing_percent`, `expected_percent`, `excess_percent` and their limits; see
        `reinforcement_rate`.
        """
        from sprachbund.analysis import answers

        return _for(k, answers.reinforcement(self._runs, _several(k)))

    def retrieval(self, k: int = 100) -> xr.Dataset:
        """Are the translations of own-language proponents found; see `translation_retrieval`."""
        from sprachbund.analysis import answers

        return answers.retrieval(self._runs, k)

    def label_agreement(self, k: int = 100, sign: Sign = "proponents") -> xr.Dataset:
        """Percentage of the top k with the test example's label: [test_language]."""
        from sprachbund.analysis import answers

        return answers.label_agreement(self._runs, k, sign)

    def confounds(
        self,
        k: int = 100,
        sign: Sign = "proponents",
        properties: "Given | None" = None,
        decomposition: "Decomposition | Mapping[int, Decomposition] | None" = None,
    ) -> xr.Dataset:
        """How much of each language's lift remains after each control; see `remaining_lift`.

        `properties` of the training examples are added to those that the result holds; a
        `decomposition` (of several runs, one for each seed) adds the controls of each group of parameters and of mean
        gradients.
        """
        from sprachbund.analysis import answers

        parts = None if decomposition is None else self._by_seed(decomposition)
        return answers.confounds(self._runs, k, sign, properties, parts)

    def property_correlations(self, properties: "Given | None" = None) -> xr.Dataset:
        """Rank correlation of influence with properties of training examples.

        Returns: [property, train_language, test_language].
        """
        from sprachbund.analysis import answers

        return answers.property_correlations(self._runs, properties)

    def relations(self, distances: xr.Dataset, k: int = 100) -> xr.Dataset:
        """Does influence go with the distance between languages: [measure, distance]; see `mantel`.

        `distances` as `sprachbund.data.distances` reads them.
        """
        from sprachbund.analysis import answers

        return answers.relations(self._runs, distances, k)

    def overlap(self, other: Self, k: int = 100, sign: Sign = "proponents") -> xr.Dataset:
        """How far another run relies on the same examples of other languages: [test_language].

        Returns: `jaccard`, `rank_biased_overlap`, their limits, and what chance would give.
        """
        from sprachbund.analysis import overlap
        from sprachbund.influence import Influence

        if not isinstance(other, Influence):
            raise InfluenceError("the other is several runs: compare with one of them, runs[seed]")
        (one,) = self._runs.values()
        return overlap.overlap_by_language(overlap.overlap(one, other, k, sign))

    def _by_seed(
        self, given: "Decomposition | Mapping[int, Decomposition]"
    ) -> "Mapping[int, Decomposition]":
        if isinstance(given, Mapping):
            return given
        if len(self._runs) > 1:
            seeds = ", ".join(map(str, self._runs))
            raise InfluenceError(
                f"one decomposition is given for the runs of seeds {seeds}; give {{seed: decomposition}}"
            )
        return dict.fromkeys(self._runs, given)


def _several(k: Ks) -> list[int]:
    ks: list[int] = np.atleast_1d(k).tolist()
    return ks


def _for(k: Ks, found: xr.Dataset) -> xr.Dataset:
    """Without the dim `k`, but with an attribute of that name, where one was asked for."""
    return found if np.ndim(k) else found.isel(k=0, drop=True).assign_attrs(k=k)
