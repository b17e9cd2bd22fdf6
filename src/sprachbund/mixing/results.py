"""What the runs of all mixes measured, read back for the analysis."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import xarray as xr

from sprachbund.analysis.mixing import correctness
from sprachbund.influence import Influence
from sprachbund.mixing.mix_run import MixRun
from sprachbund.mixing.predictions import read_predictions


def correct_by_seed(
    runs: Iterable[MixRun], study: str, own: Mapping[int, Path]
) -> dict[int, xr.DataArray]:
    """`correctness` by seed, [mix, test]; `own` are the predictions of the mix `study` by seed."""
    paths = {seed: {study: path} for seed, path in own.items()}
    for run in runs:
        paths[run.seed][run.mix.name] = run.predictions_path
    return {
        seed: correctness({name: read_predictions(path) for name, path in of_seed.items()})
        for seed, of_seed in paths.items()
    }


def influences_by_mix(runs: Iterable[MixRun]) -> dict[str, dict[int, Influence]]:
    """The influence results of the mixes that were attributed, by mix and seed."""
    found: dict[str, dict[int, Influence]] = {}
    for run in runs:
        if run.is_attributed:
            found.setdefault(run.mix.name, {}).update(run.study.influences())
    return found
