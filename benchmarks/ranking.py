"""Seconds that ranking all candidates takes, next to the bare NumPy product of the same vectors.

    python benchmarks/ranking.py [--queries 6040] [--candidates 3416 12101 100000] [--dim 64] [--at 10]

For each number of candidates: the product in one piece (`queries @ candidates.T`), in the blocks that the ranking
works in, the ranks of one target per query, the metrics with coverage (what `Index.evaluate` computes), and the k
best. Rounds go over all cases in turn; the best of each is shown, in wall time and in CPU time of all threads, as
a multiple of the product in one piece. Memory is the peak of what NumPy allocates. Prints a table, and a JSON line
last. NumPy only.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from kerasrec.retrieval import Lists, VectorScores, top_k
from kerasrec.retrieval.ranking import ranking_of, target_ranks_of
from kerasrec.retrieval.scores import rows_per_block


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=6040)
    parser.add_argument("--candidates", type=int, nargs="+", default=[3416, 12_101, 100_000])
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--at", type=int, nargs="+", default=[10])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    figures: dict[str, object] = {**vars(options), "cores": os.cpu_count(), "numpy": np.__version__}
    print(f"{options.queries:,} queries, {options.dim} wide; times as multiples of the product in one piece")
    print(f"{'candidates':>11}  {'case':24}{'ms':>9}{'wall':>8}{'CPU':>8}{'peak MiB':>10}")
    for candidates in options.candidates:
        figures[str(candidates)] = measure(options, candidates)
    print(json.dumps(figures))


def measure(options: argparse.Namespace, candidates: int) -> dict[str, dict[str, float]]:
    """Print and return the figures of one number of candidates."""
    rng = np.random.default_rng(0)
    # One piece should fit into 2 GiB.
    count = min(options.queries, (2 << 30) // (4 * candidates))
    q = rng.normal(size=(count, options.dim)).astype(np.float32)
    c = rng.normal(size=(candidates, options.dim)).astype(np.float32)
    targets = Lists.one_per_row(rng.integers(0, candidates, count))
    rows = rows_per_block(count, candidates, os.cpu_count() or 1)

    def in_blocks() -> None:
        for start in range(0, count, rows):
            q[start : start + rows] @ c.T

    cases: dict[str, Callable[[], object]] = {
        "product": lambda: q @ c.T,
        "product in blocks": in_blocks,
        "ranks": lambda: target_ranks_of(VectorScores(q, c), targets),
        "metrics, coverage": lambda: ranking_of(VectorScores(q, c), targets, options.at),
        f"top {max(options.at)}": lambda: top_k(q, c, max(options.at)),
    }
    wall: dict[str, list[float]] = {name: [] for name in cases}
    cpu: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(options.rounds + 1):
        for name, case in cases.items():
            time.sleep(0.1)  # OpenBLAS's threads wait busily for a while after a product
            start, begun = time.perf_counter(), time.process_time()
            case()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - begun)
    figures = {}
    for name, case in cases.items():
        seconds, used = min(wall[name][1:]), min(cpu[name][1:])
        figures[name] = {
            "ms": 1e3 * seconds,
            "wall": seconds / min(wall["product"][1:]),
            "cpu": used / min(cpu["product"][1:]),
            "peak_mib": peak_mib(case),
        }
        print(
            f"{candidates:11,}  {name:24}{figures[name]['ms']:9.1f}{figures[name]['wall']:8.2f}"
            f"{figures[name]['cpu']:8.2f}{figures[name]['peak_mib']:10.1f}"
        )
    return {"queries": {"count": count}, **figures}


def peak_mib(case: Callable[[], object]) -> float:
    tracemalloc.start()
    case()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / (1 << 20)


if __name__ == "__main__":
    main()
