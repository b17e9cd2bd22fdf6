"""The numbers of a report: the analyses of every seed stacked, and the chance level beside them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import xarray as xr

from sprachbund.analysis.dynamics import own_language_share
from sprachbund.analysis.sharing import expected_share, language_share
from sprachbund.influence import Influence, Sign
from sprachbund.report.data import ReportData


@dataclass(frozen=True)
class Numbers:
    """The labelled arrays that a report's sentences, charts and tables all read."""

    data: ReportData

    @cached_property
    def train_languages(self) -> tuple[str, ...]:
        """In order of appearance among the training examples."""
        return self.data.first.train_languages

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """Test languages that are training languages too, in the order of these."""
        tested = self.data.first.test_languages
        return tuple(name for name in self.train_languages if name in tested)

    @cached_property
    def zero_shot(self) -> tuple[str, ...]:
        """Test languages that are not training languages."""
        tested = self.data.first.test_languages
        return tuple(name for name in tested if name not in self.train_languages)

    @property
    def test_languages(self) -> tuple[str, ...]:
        """Those trained on, then the zero-shot ones."""
        return self.trained + self.zero_shot

    @cached_property
    def train_counts(self) -> dict[str, int]:
        """Training examples by language."""
        return _counts(self.data.first, "train_language", self.train_languages)

    @cached_property
    def test_counts(self) -> dict[str, int]:
        """Attributed test examples by language."""
        return _counts(self.data.first, "test_language", self.test_languages)

    @cached_property
    def chance(self) -> xr.DataArray:
        """[train_language], percent: the share of a top k drawn at random."""
        return expected_share(self.data.first)

    @cached_property
    def proponents(self) -> xr.DataArray:
        """[seed, test_language, train_language], percent of the top k by the total influence."""
        return self._share("proponents")

    @cached_property
    def opponents(self) -> xr.DataArray:
        """The same of the k training examples that most lower the fit."""
        return self._share("opponents")

    @cached_property
    def own_share(self) -> xr.DataArray:
        """[seed, checkpoint, test_language], percent of proponents; languages trained on only."""
        k = self.data.k
        stacked = self._by_seed(lambda influence: own_language_share(influence, k))
        return stacked.sel(test_language=list(self.trained))

    @cached_property
    def epochs(self) -> xr.DataArray:
        """[checkpoint]: the epoch of each optimizer step, over all seeds."""
        results = self.data.influences.values()
        parts = [self.data.accuracy[["checkpoint", "epoch"]]]
        parts += [
            pd.DataFrame({name: result.dataset[name].values for name in ("checkpoint", "epoch")})
            for result in results
        ]
        pairs = pd.concat(parts).drop_duplicates("checkpoint", keep="last")
        epochs = pairs.set_index("checkpoint")["epoch"].astype(float).sort_index()
        return xr.DataArray(epochs.to_numpy(), coords={"checkpoint": epochs.index.to_numpy()})

    @cached_property
    def accuracy(self) -> xr.DataArray:
        """[seed, checkpoint, language], a fraction; NaN where it was not measured."""
        table = self.data.accuracy.set_index(["seed", "checkpoint", "language"])["accuracy"]
        array = xr.DataArray.from_series(table.astype(float))
        present = array["language"].values.tolist()
        known = [name for name in self.test_languages if name in present]
        return array.sel(language=known + [name for name in present if name not in known])

    @cached_property
    def final_accuracy(self) -> dict[str, float]:
        """Accuracy by language at each seed's last checkpoint, the mean over seeds."""
        ordered = self.data.accuracy.sort_values("checkpoint")
        last = ordered.groupby(["seed", "language"])["accuracy"].last()
        means = last.groupby(level="language").mean()
        return {str(name): float(means[name]) for name in self.accuracy["language"].values}

    def _share(self, sign: Sign) -> xr.DataArray:
        k = self.data.k
        stacked = self._by_seed(lambda influence: language_share(influence, k, sign))
        return stacked.sel(test_language=list(self.test_languages))

    def _by_seed(self, analyse: Callable[[Influence], xr.DataArray]) -> xr.DataArray:
        # Coordinates such as the epoch differ between seeds where runs differ in length.
        arrays = [
            analyse(self.data.influences[seed]).reset_coords(drop=True) for seed in self.data.seeds
        ]
        return xr.concat(arrays, pd.Index(self.data.seeds, name="seed"), join="outer")


def _counts(influence: Influence, coordinate: str, languages: tuple[str, ...]) -> dict[str, int]:
    counts = pd.Series(influence.dataset[coordinate].values).value_counts()
    return {name: int(counts[name]) for name in languages}
