"""Which tables answer the questions of a study, and what is needed for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import xarray as xr

from sprachbund.analysis import explanation_tables as explanations
from sprachbund.analysis import influence_tables as influences
from sprachbund.analysis import overlap_tables as overlaps
from sprachbund.analysis.answers import Runs
from sprachbund.analysis.decomposed import Decompositions
from sprachbund.analysis.listings import SIGNS
from sprachbund.analysis.properties import Given
from sprachbund.analysis.table import Table


@dataclass(frozen=True)
class Asked:
    """What is known of the data beside the influence results.

    `distances` between the languages, [language, other_language] each; `properties` of the training
    examples, [train] or [checkpoint, train], in the order of the results; `decompositions` of the
    influence, by seed, or none; `other` the results of a study to compare with, called `other_name`, where one was
    named.
    """

    distances: xr.Dataset = field(default_factory=xr.Dataset)
    properties: Given = field(default_factory=dict)
    decompositions: Decompositions = field(default_factory=dict)
    other: Runs | None = None
    other_name: str = ""


def sections(runs: Runs, k: int, asked: Asked) -> Mapping[str, Callable[[], list[Table]]]:
    """What makes the tables of each question, by its name, in reading order.

    Calling one raises an InfluenceError where the data does not allow its tables.
    """
    made: dict[str, Callable[[], list[Table]]] = {}
    for sign in SIGNS:
        made[f"shares of {sign} with intervals"] = partial(influences.shares_tables, runs, k, sign)
        made[f"mass shares of {sign}"] = partial(influences.mass_tables, runs, sign)
    made |= {
        "mean influence": partial(influences.mean_influence_tables, runs),
        "dynamics": partial(influences.dynamics_tables, runs, k),
        "change of the own-language share": partial(influences.own_share_change_tables, runs, k),
        "shares by checkpoint": partial(influences.checkpoints_tables, runs, k),
        "mean influence by checkpoint": partial(
            influences.mean_influence_by_checkpoint_tables, runs
        ),
        "learning curves": partial(influences.learning_tables, runs),
        "reinforcement": partial(explanations.reinforcement_tables, runs, k),
        "translation retrieval": partial(explanations.retrieval_tables, runs, k),
        "label agreement": partial(explanations.label_agreement_tables, runs, k),
        "confounds": partial(
            explanations.confounds_tables, runs, k, asked.properties, asked.decompositions
        ),
        "share by parameter group": partial(
            explanations.parameter_groups_tables, runs, k, asked.decompositions
        ),
        "property correlations": partial(explanations.properties_tables, runs, asked.properties),
        "relations": partial(explanations.relations_tables, runs, k, asked.distances),
        "overlap between seeds": partial(overlaps.overlap_between_seeds_tables, runs, k),
    }
    if asked.other is not None:
        made["overlap with the other study"] = partial(
            overlaps.overlap_with_other_study_tables, runs, k, asked.other, asked.other_name
        )
    return made
