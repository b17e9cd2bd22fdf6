"""How fast an index is searched, against a plain copy of the same memory.

python benchmarks/search.py [--examples 200000] [--numbers 512] [--threads 1]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from sprachbund.index.index import CompressedCheckpoint

_SKETCH = 16_384


def _seconds(work: Callable[[], object], repeat: int = 7) -> float:
    times = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200_000)
    parser.add_argument("--numbers", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(options.examples, options.numbers))
    directions = torch.linalg.qr(torch.randn(_SKETCH, options.numbers)).Q
    compressed = CompressedCheckpoint(vectors, torch.rand(options.examples), directions)
    gigabytes = vectors.nbytes / 1e9
    other = torch.empty_like(vectors)
    copy = _seconds(lambda: other.copy_(vectors))
    print(
        f"{options.examples} x {options.numbers} float32, {gigabytes:.2f} GB; {options.threads} threads; medians of 7"
    )
    print(f"copy: {2 * gigabytes / copy:.1f} GB/s (read and written)")
    for queries in (1, 4, 16, 64):
        sketch = torch.randn(queries, _SKETCH)
        taken = _seconds(lambda sketch=sketch: compressed.search(sketch, "cosine"))
        print(
            f"{queries:3} queries: {1e3 * taken:7.1f} ms, {gigabytes / taken:5.1f} GB/s read,"
            f" {1e3 * taken / queries:6.2f} ms a query"
        )


if __name__ == "__main__":
    main()
