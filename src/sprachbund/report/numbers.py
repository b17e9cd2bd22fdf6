"""The numbers of a report: the tables of the analysis, and what no table holds."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import xarray as xr

from sprachbund.analysis import answers
from sprachbund.analysis.sharing import expected_share, language_share
from sprachbund.influence import Influence, Sign
from sprachbund.report.data import ReportData
from sprachbund.report.results import Results, computed_results, quiet_about_k

PAIR = ["test_language", "train_language"]


@dataclass(frozen=True)
class Numbers:
    """What a report's sentences, charts and tables all read."""

    data: ReportData

    @cached_property
    def results(self) -> Results:
        """The tables, as they were given or, without any, computed from the influence results."""
        given = self.data.results
        return computed_results(self.data.influences, self.data.k) if given is None else given

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
    def proponents(self) -> pd.DataFrame:
        """The table `share_proponents`, by test language and training language."""
        return self._shares("proponents")

    @cached_property
    def opponents(self) -> pd.DataFrame:
        """The same of the k training examples that most lower the fit."""
        return self._shares("opponents")

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

    def table(self, name: str) -> pd.DataFrame | None:
        """A table of the analysis; None where the data does not allow it."""
        return self.results.tables.get(name)

    def why_not(self, question: str) -> str:
        """Why a question has no answer, as a sentence."""
        reason = self.results.left_out.get(question, "the analysis has no table of it")
        return f"Not possible with this data: {reason}."

    def _shares(self, sign: Sign) -> pd.DataFrame:
        """Without p and q values where no training examples could exchange their languages."""
        k, runs = self.data.k, self.data.influences
        language_share(self.data.first, k, sign)  # warns of a k that is too large
        frame = self.table(f"share_{sign}")
        if frame is None:
            with quiet_about_k():
                found = answers.share(runs, (k,), sign).isel(k=0)
            frame = (
                found.to_dataframe()
                .reset_index()
                .assign(null_mean=float("nan"), q_value=float("nan"))
            )
        return frame.set_index(PAIR, drop=False).rename_axis(["test", "train"])


def _counts(influence: Influence, coordinate: str, languages: tuple[str, ...]) -> dict[str, int]:
    counts = pd.Series(influence.dataset[coordinate].values).value_counts()
    return {name: int(counts[name]) for name in languages}
