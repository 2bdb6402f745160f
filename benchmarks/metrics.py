"""Time per step of `kr.metrics.AUC` beside `keras.metrics.AUC`, and its error on 10M rows.

    python benchmarks/metrics.py [--rows 10000000] [--batch 4096]

Prints a table, and a JSON line last. Needs TensorFlow and scikit-learn.
"""

import argparse
import json
import time

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import roc_auc_score

import kerasrec as kr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--batch", type=int, default=4096)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = (rng.random((options.batch, 1)) < 0.3).astype("float32")
    scores = rng.random((options.batch, 1)).astype("float32")
    figures: dict[str, object] = {"batch": options.batch, "rows": options.rows}
    kinds = {"keras.metrics.AUC": keras.metrics.AUC, "kr.metrics.AUC": kr.metrics.AUC}
    print(f"{'':20}{'ms per step':>12}{'first step, s':>15}")
    for name, kind in kinds.items():
        milliseconds, first = time_of(kind(), tf.constant(labels), tf.constant(scores))
        figures[f"{name} ms"], figures[f"{name} first s"] = milliseconds, first
        print(f"{name:20}{milliseconds:12.3f}{first:15.2f}")
    figures |= error_of(options.rows, rng)
    for name in ("error", "bound", "update s", "result s"):
        print(f"{name:20}{figures[name]:12.3g}")
    print(json.dumps(figures))


def time_of(metric: keras.metrics.Metric, labels: tf.Tensor, scores: tf.Tensor) -> tuple[float, float]:
    """Return the median ms of update and result in one traced function, and the seconds of the first call."""

    @tf.function
    def step(labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        metric.update_state(labels, scores)
        return metric.result()

    start = time.perf_counter()
    step(labels, scores)
    first = time.perf_counter() - start
    times = []
    for _ in range(200):
        start = time.perf_counter()
        step(labels, scores)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3, first


def error_of(rows: int, rng: np.random.Generator) -> dict[str, float]:
    scores = (0.3 * rng.random(rows) ** 3).astype("float32")
    labels = rng.random(rows) < scores
    metric, start = kr.metrics.AUC(), time.perf_counter()
    for first in range(0, rows, 65_536):
        metric.update_state(labels[first : first + 65_536], scores[first : first + 65_536])
    updated = time.perf_counter()
    found = float(metric.result())
    done = time.perf_counter()
    error = abs(found - roc_auc_score(labels, scores))
    return {"error": error, "bound": metric.error_bound(), "update s": updated - start, "result s": done - updated}


if __name__ == "__main__":
    main()
