"""Peers side by side: the same model, batches and threads, each in a process of its own.

python benchmarks/peers.py [--threads 1] [--repeat 3] [--only 'captum|vmap']

Prints, for each, time over the floor (a plain forward and backward epoch over the same training and test batches,
timed in turn with the peer in its process), the process's peak memory and the relative error (Frobenius) of the scores
against autograd in float64, example by example, over all trainable parameters. All scores are inner products.
Needs the extra `peers`.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from adapters.catalogue import PEERS, Job, Measurement, Peer, Sizes

COLUMNS = ("peer", "version", "time / floor", "peak MiB", "error", "leaves out")


def run(module: str, job: Job, limit_seconds: float) -> str:
    """The last line that the module prints for the job, in a new process."""
    threads = str(job.sizes.threads)
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [sys.executable, "-m", f"adapters.{module}", job.to_json()],
        cwd=Path(__file__).parent,  # where the adapters are
        env=environment,
        timeout=limit_seconds,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise RuntimeError(f"its process ended with {done.returncode}: {last[:160]}")
    return (done.stdout.strip().splitlines() or [""])[-1]


def row(peer: Peer, sizes: Sizes, truth: str, limit_seconds: float) -> tuple[str, ...]:
    """The peer's cells; whatever keeps it from the job stands where its numbers would."""
    try:
        release = version(peer.distribution)
    except PackageNotFoundError:
        return peer.name, "", "", "", "", "not run: not installed"
    job = Job(sizes, truth, peer.function, peer.train_at_most)
    try:
        found = Measurement(**json.loads(run("worker", job, limit_seconds)))
    except subprocess.TimeoutExpired:
        return peer.name, release, f"over {limit_seconds:.0f} s", "", "", "not finished: stopped"
    except RuntimeError as error:
        return peer.name, release, "", "", "", f"failed: {error}"
    if found.failed or found.seconds is None:
        return peer.name, release, "", f"{found.peak_MiB:.0f}", "", f"failed: {found.failed}"
    remark = peer.leaves_out
    if found.examples < sizes.train:
        remark += f" (timed on {found.examples} of {sizes.train} training examples, scaled)"
    return (
        peer.name,
        release,
        f"{found.seconds / found.floor_seconds:.2f}",
        f"{found.peak_MiB:.0f}",
        f"{found.error:.1g}" if found.error < 0.01 else f"{found.error:.2f}",
        remark,
    )


def line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in vars(Sizes()).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", default="", help="peers whose name matches this expression")
    parser.add_argument("--limit-seconds", type=float, default=1800, help="of each process")
    options = vars(parser.parse_args())
    only, limit_seconds = options.pop("only"), options.pop("limit_seconds")
    sizes = Sizes(**options)
    with tempfile.TemporaryDirectory() as folder:
        truth = str(Path(folder) / "truth.pt")
        run("truth", Job(sizes, truth), limit_seconds)
        floor = Measurement(**json.loads(run("worker", Job(sizes, truth), limit_seconds)))
        print(
            f"{platform.processor() or platform.machine()}, {sizes.threads} threads, torch {version('torch')}, "
            f"transformers {version('transformers')}; XLM-R shape 4 x 256, vocabulary 32k, N={sizes.train}, "
            f"M={sizes.test}, T={sizes.tokens}, batches of {sizes.batch}; floor {floor.floor_seconds:.2f} s; "
            f"medians of {sizes.repeat}, of one where a run takes over a minute and a half\n"
        )
        print(line(COLUMNS))
        print(line(("---",) * len(COLUMNS)))
        print(line(("plain epoch, the floor", "", "1.00", f"{floor.peak_MiB:.0f}", "", "")))
        for peer in PEERS:
            if re.search(only, peer.name):
                print(line(row(peer, sizes, truth, limit_seconds)), flush=True)


if __name__ == "__main__":
    main()
