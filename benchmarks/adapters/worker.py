"""One process, one peer: its time and the floor's in turn, its peak memory, its error. Prints a line of JSON last."""

import copy
import importlib
import json
import math
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict

import torch
from shapes import Batch, plain_epoch
from torch import Tensor
from transformers import PreTrainedModel

from adapters.catalogue import Job, Measurement
from adapters.setting import small_model, train_and_test

Scores = Callable[[PreTrainedModel, list[Batch], list[Batch]], Tensor]

CHEAP_SECONDS = 90.0


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_mebibytes() -> float:
    """Of this process, libraries included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def relative_error(found_MN: Tensor, expected_MN: Tensor) -> float:
    """Frobenius norm of the difference over the norm of the truth."""
    if found_MN.shape != expected_MN.shape:
        raise ValueError(f"scores {tuple(found_MN.shape)}, expected {tuple(expected_MN.shape)}")
    return float((found_MN.double() - expected_MN).norm() / expected_MN.norm())


def measure(job: Job, scores: Scores | None) -> Measurement:
    """Floor and peer in turn, so that what else the machine does falls on both; a long peer once.

    The floor is always that of the whole job. Every run of a peer gets a fresh copy of the model, made before its
    time starts, as some change the model that they are given.
    """
    model = small_model()
    train, test = train_and_test(job.sizes)
    some = train[: max(1, (job.train_at_most or job.sizes.train) // job.sizes.batch)]
    plain_epoch(model, train[:1])
    floor, peer, found = [], [], torch.empty(0)

    def run(fresh: PreTrainedModel) -> None:
        nonlocal found
        found = scores(fresh, some, test).detach()

    for _ in range(job.sizes.repeat):
        floor.append(seconds(lambda: plain_epoch(model, [*train, *test])))
        model.zero_grad(set_to_none=True)
        if scores is None:
            continue
        fresh = copy.deepcopy(model)
        peer.append(seconds(lambda: run(fresh)))  # noqa: B023
        if peer[-1] > CHEAP_SECONDS:
            break
    if scores is None:
        return Measurement(statistics.median(floor), peak_mebibytes())
    peak = peak_mebibytes()
    examples = sum(len(batch["labels"]) for batch in some)
    return Measurement(
        statistics.median(floor),
        peak,
        seconds=statistics.median(peer) * job.sizes.train / examples,
        error=relative_error(found, torch.load(job.truth)[:, :examples]),
        runs=len(peer),
        examples=examples,
    )


def main() -> None:
    job = Job.from_json(sys.argv[1])
    torch.set_num_threads(job.sizes.threads)
    try:
        scores = None
        if job.function:
            module, name = job.function.split(":")
            scores = getattr(importlib.import_module(f"adapters.{module}"), name)
        result = measure(job, scores)
    except Exception as error:  # a peer that cannot do the job gets a row that says why
        traceback.print_exc()
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        result = Measurement(math.nan, peak_mebibytes(), failed=reason[:160])
    print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    main()
