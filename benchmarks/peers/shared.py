"""What the workers of `train_step.py` have in common, whatever library they measure; needs NumPy alone.

A worker is a process that prepares one case, says so, and then trains for some seconds whenever it is told to. So
the cases of a group can take turns, and each has its own threads and gives its memory back when it ends.
"""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

FEATURES, DENSE = 26, 13
BOTTOM, TOP = (512, 256), (512, 256)  # the bottom tower ends in one more layer, of the embeddings' width
LEARNING_RATE, ACCUMULATOR, EPSILON = 0.01, 0.1, 1e-7  # Keras's Adagrad; the peers are set to the same
FIRST_STEPS = 4  # whose losses are compared between cases


@dataclass(frozen=True)
class Case:
    """One DLRM to be trained by one system."""

    system: str  # kerasrec, keras, keras_rs, torchrec or floor
    vocabulary: int = 1_000_000
    batch: int = 4096
    width: int = 32
    hotness: int = 1
    optimizer: str = "adagrad"
    policy: str = "float32"
    distinct: int = 0  # ids come from so many rows, spread over the table; 0: from all

    def initial_value(self, table: int) -> float:
        """Of a whole table: the same in every library, so that losses can be compared. Costs no time to draw."""
        return 0.05 * np.cos(table)


def batches(case: Case) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Some batches to go round in: dense (batch, 13), ids (26, batch, hotness), target (batch, 1)."""
    rng = np.random.default_rng(0)
    size = (FEATURES, case.batch, case.hotness)
    count = int(np.clip(8_000_000 // np.prod(size), 4, 20))
    padding = int(case.hotness > 1)  # in a list, id 0 means nothing to kerasrec
    rows = rng.permutation(case.vocabulary - padding)[: case.distinct or None] + padding
    # A power law cut off at the last rank, by the inverse of its distribution function.
    share = np.cumsum(np.arange(1, len(rows) + 1, dtype=np.float64) ** -1.2)
    batch_list = []
    for _ in range(count):
        ids = rows[np.searchsorted(share, share[-1] * rng.random(size), side="right").clip(max=len(rows) - 1)]
        dense = rng.normal(size=(case.batch, DENSE)).astype("float32")
        target = dense[:, :1] + rng.normal(size=(case.batch, 1)) > 0.5
        batch_list.append((dense, ids.astype("int32"), target.astype("float32")))
    return batch_list


def serve(prepare: Callable[[Case], Callable[[int], tuple[list[float], list[float], list[float]]]]) -> None:
    """A worker's main function.

    `prepare(case)` returns `steps(n)`: train n steps, and say for each what it took in wall and in CPU seconds
    since the one before it ended, and its loss (or the mean loss so far).
    """
    case = Case(**json.loads(sys.argv[1]))
    steps = prepare(case)
    _, _, losses = steps(FIRST_STEPS)
    wall = min(steps(3)[0][1:])
    answer(loss=losses[-1])
    for line in sys.stdin:
        wall_s, cpu_s, _ = steps(max(4, 2 + round(float(line) / wall)))
        # The first two steps find cold caches and a cold pipeline.
        wall, cpu = statistics.median(wall_s[2:]), statistics.median(cpu_s[2:])
        answer(wall_ms=1e3 * wall, cpu_ms=1e3 * cpu, steps=len(wall_s) - 2, peak_gib=peak_gib())


def answer(**figures: float) -> None:
    print(json.dumps(figures), flush=True)


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def command(python: str, script: str, case: Case) -> list[str]:
    return [python, os.path.join(os.path.dirname(os.path.abspath(__file__)), script), json.dumps(asdict(case))]
