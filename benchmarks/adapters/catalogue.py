"""Which peers there are, what each leaves out, and the job that one process is given. Imports no library.

A process inherits the peak memory of the one that starts it, so the one that prints the table stays small.
"""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Peer:
    """One row: the function that computes the scores, and what a reader must know of it.

    `train_at_most` bounds the training examples of a peer whose whole run would take hours; its time is then
    scaled to all of them, which is right where it keeps nothing from one training batch to the next, as dattri:
    it computes the test gradients anew for each.
    """

    name: str
    function: str
    distribution: str
    leaves_out: str
    train_at_most: int | None = None


PEERS = (
    Peer("sprachbund pairwise_influence", "ours:pairwise", "sprachbund", "nothing"),
    Peer("vmap(grad)", "vmap_grad:scores", "torch", "nothing"),
    Peer("captum TracInCP", "captum_tracin:exact", "captum", "nothing"),
    Peer("captum TracInCP, batches of one", "captum_tracin:exact_one_by_one", "captum", "nothing"),
    Peer(
        "captum TracInCP, sample_wise_grads_per_batch",
        "captum_tracin:sample_wise",
        "captum",
        "all but Linear layers: embeddings, layer norms; without a word",
    ),
    Peer(
        "sprachbund, the last layer's weight alone",
        "ours:last_weight",
        "sprachbund",
        "all but the last layer's weight, as asked",
    ),
    Peer("captum TracInCPFast", "captum_tracin:fast", "captum", "all but the last layer's weight"),
    Peer(
        "dattri TracIn, proj_type identity",
        "dattri_tracin:exact",
        "dattri",
        "nothing",
        train_at_most=32,
    ),
    Peer(
        "dattri TracIn, its default",
        "dattri_tracin:default",
        "dattri",
        "nothing, but projects at random to 512 numbers, unasked",
        train_at_most=32,
    ),
    Peer(
        "kronfluence, identity",
        "kronfluence_identity:scores",
        "kronfluence",
        "all but Linear layers: embeddings, layer norms",
    ),
    Peer(
        "bergson, no projection",
        "bergson_scorer:scores",
        "bergson",
        "all but the encoder's Linear layers: embeddings, layer norms, the head",
    ),
)


@dataclass(frozen=True)
class Sizes:
    """N training and M test examples of T tokens, in batches, on so many threads."""

    train: int = 256
    test: int = 16
    tokens: int = 128
    batch: int = 32
    threads: int = 1
    repeat: int = 3


@dataclass(frozen=True)
class Job:
    """What one process measures: a peer's function (none: the floor alone), against the scores in a file."""

    sizes: Sizes
    truth: str
    function: str | None = None
    train_at_most: int | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        fields = json.loads(text)
        return cls(**(fields | {"sizes": Sizes(**fields["sizes"])}))


@dataclass(frozen=True)
class Measurement:
    """What a process found: medians of `runs` in seconds, scaled to all training examples from `examples` of them."""

    floor_seconds: float
    peak_MiB: float
    seconds: float | None = None
    error: float | None = None
    runs: int = 0
    examples: int = 0
    failed: str | None = None
