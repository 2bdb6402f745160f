"""Measure the latency of a SavedModel that takes raw rows, split into its parts, next to the bare model.

    python benchmarks/serving.py [--candidates 1 32 500] [--vocabulary 100000] [--calls 200] [--width 32]

A DLRM of 26 columns of strings (Categorify), 13 numbers with nulls (FillMissing, LogOp, Normalize) and a list of
strings is exported with its workflow. It is not trained: that changes no latency. For each number of candidates:

    rows       `kr.serving.rows` of dicts: arrays
    tensors    arrays to TensorFlow's tensors
    features   the workflow's graph alone, raw tensors to features
    tables     the lookups of embeddings alone, as a graph
    model      the bare Keras model as a graph, on ready features: tables and dense layers
    served     `tf.saved_model.load(...)` called with raw tensors: features and model
    loaded     `kr.serving.load(...)` called with arrays, which it checks first
    nvtabular  NVTabular 23.8's `workflow.transform` of a DataFrame on this CPU, and a Keras model of the same
               tables and dense layers on its columns, as Merlin serves them; `sh benchmarks/peers/setup.sh merlin`
               installs it

Calls of all cases take turns. Printed are the median and the 99th percentile of wall time and the mean CPU time of
all threads, in milliseconds, and ratios of CPU times, which a busy machine changes least: "features / dense"
compares the workflow with the model without its tables. A call of a signature of 54 tensors takes 1 to 2 ms of
Python, whatever its graph computes: "features" and "served" include it; "loaded" passes one tensor per dtype.
Prints a table, and a line of JSON last.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tensorflow as tf
from peers.worker import Worker

import kerasrec as kr
from kerasrec import etl
from kerasrec.serving.signatures import traced_columns

STRINGS, NUMBERS = 26, 13
PEERS = Path(__file__).resolve().parent / "peers"
MERLIN = PEERS / ".venv-merlin" / "bin" / "python"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 32, 500])
    parser.add_argument("--vocabulary", type=int, default=100_000, help="distinct strings per column")
    parser.add_argument("--rows", type=int, default=200_000, help="rows that the workflow is fitted on")
    parser.add_argument("--width", type=int, default=32, help="of the embeddings")
    parser.add_argument("--calls", type=int, default=200)
    options = parser.parse_args()
    figures: dict[str, Any] = {**vars(options), "cores": os.cpu_count(), "tensorflow": tf.__version__}
    print(f"{'candidates':>10}  {'case':12}{'p50 ms':>10}{'p99 ms':>10}{'CPU ms':>10}")
    with tempfile.TemporaryDirectory() as folder:
        frame = raw_rows(options.rows, options.vocabulary)
        workflow, model = trained(frame, options.width)
        kr.serving.export(model, Path(folder) / "served", workflow=workflow)
        with nvtabular(folder, frame, options.width) as peer:
            for count in options.candidates:
                figures[str(count)] = measure(cases(folder, workflow, model, frame.head(count)), options.calls)
                if peer is not None:
                    figures[str(count)] |= measure_peer(peer, count, max(5, options.calls // 10))
                report(count, figures[str(count)])
    print(json.dumps(figures))


@contextmanager
def nvtabular(folder: str, frame: pl.DataFrame, width: int) -> Iterator[Worker | None]:
    """Yield a process that does the same with NVTabular, or None where it is not installed."""
    if not MERLIN.exists():
        print(f"without NVTabular: {MERLIN} is not there; run: sh benchmarks/peers/setup.sh merlin")
        yield None
        return
    frame.write_parquet(f"{folder}/fit.parquet")
    script = PEERS / "nvtabular_serving.py"
    worker = Worker("nvtabular", [MERLIN, script, f"{folder}/fit.parquet", width, f"{folder}/nvtabular"])
    worker.hear()
    try:
        yield worker
    finally:
        worker.close()


def measure_peer(peer: Worker, count: int, calls: int) -> dict[str, dict[str, float]]:
    """Return NVTabular's figures, of fewer calls: they take longer, and not in turns with the others."""
    answers = [peer.ask(count) for _ in range(calls + 3)][3:]
    figures = {}
    for part in answers[0]:
        ms = [answer[part]["ms"] for answer in answers]
        cpu = float(np.mean([answer[part]["cpu"] for answer in answers]))
        name = "nvtabular" if part == "both" else f"its {part}"
        figures[name] = {"p50": float(np.median(ms)), "p99": float(np.quantile(ms, 0.99)), "cpu": cpu}
    return figures


def raw_rows(rows: int, vocabulary: int) -> pl.DataFrame:
    """Return rows of a click log: strings of 8 characters by a power law, numbers with nulls, a list."""
    rng = np.random.default_rng(0)
    power_law = kr.datasets.power_law.Zipf(vocabulary, 1.1)
    columns: dict[str, Any] = {}
    for i in range(STRINGS):
        codes = kr.datasets.power_law.scramble(power_law(rng.random(rows)), i)
        columns[f"string{i}"] = [f"{code:08x}" for code in codes]
    for i in range(NUMBERS):
        numbers = rng.integers(0, 1000, rows)
        columns[f"number{i}"] = pl.Series(numbers).set(pl.Series(rng.random(rows) < 0.1), None)
    columns["tags"] = [
        [f"tag{tag}" for tag in rng.integers(0, 500, length)] for length in rng.integers(0, 6, rows)
    ]
    return pl.DataFrame(columns | {"clicked": rng.integers(0, 2, rows)})


def trained(frame: pl.DataFrame, width: int) -> tuple[etl.Workflow, kr.models.DLRM]:
    """Return a fitted workflow and a model with its initial weights."""
    ids = [f"string{i}" for i in range(STRINGS)] + ["tags"] >> etl.Categorify()
    numbers = [f"number{i}" for i in range(NUMBERS)] >> etl.FillMissing() >> etl.LogOp() >> etl.Normalize()
    workflow = etl.Workflow(ids + numbers + (["clicked"] >> etl.Target())).fit(frame)
    schema = workflow.output_schema
    return workflow, kr.models.DLRM(
        schema, embedding_dim=width, bottom_units=[512, 256, width], top_units=[512, 256]
    )


def cases(folder: str, workflow: etl.Workflow, model: kr.models.DLRM, frame: pl.DataFrame) -> dict[str, Callable]:
    """Return what is measured for the rows of a frame."""
    path = f"{folder}/served"
    records = frame.drop("clicked").to_dicts()
    arrays = kr.serving.rows(records, path)
    tensors = {name: tf.constant(array) for name, array in arrays.items()}
    features = workflow.output_schema.features
    module = workflow.tensorflow_module(features)
    transform = traced_columns(module, workflow.raw_columns(features.names))
    ready = transform(**tensors)
    ids = {name: tensor for name, tensor in ready.items() if not name.startswith(("number", "tags"))}
    ids["tags"] = tf.RaggedTensor.from_row_splits(ready["tags__values"], ready["tags__offsets"])
    inputs = ids | {name: tensor for name, tensor in ready.items() if name.startswith("number")}
    tables, bare = tf.function(model.embeddings), tf.function(lambda inputs: model(inputs, training=False))
    served, loaded = tf.saved_model.load(path).signatures["serving_default"], kr.serving.load(path)
    return {
        "rows": lambda: kr.serving.rows(records, path),
        "tensors": lambda: [tf.constant(array) for array in arrays.values()],
        "features": lambda: transform(**tensors),
        "tables": lambda: tables(ids),
        "model": lambda: bare(inputs),
        "served": lambda: served(**tensors),
        "loaded": lambda: loaded(**arrays),
    }


def measure(cases: dict[str, Callable], calls: int) -> dict[str, dict[str, float]]:
    """Return the median, the 99th percentile and the mean CPU time of each case, in milliseconds."""
    wall: dict[str, list[float]] = {name: [] for name in cases}
    cpu: dict[str, list[float]] = {name: [] for name in cases}
    for call in range(calls + 10):
        for name, case in cases.items():
            start, begun = time.perf_counter(), time.process_time()
            case()
            if call >= 10:
                wall[name].append(1e3 * (time.perf_counter() - start))
                cpu[name].append(1e3 * (time.process_time() - begun))
    return {
        name: {"p50": float(np.median(ms)), "p99": float(np.quantile(ms, 0.99)), "cpu": float(np.mean(cpu[name]))}
        for name, ms in wall.items()
    }


def report(count: int, figures: dict[str, dict[str, float]]) -> None:
    """Print the figures of one number of candidates, and add the ratios that matter."""
    for name, of_case in figures.items():
        print(f"{count:10,}  {name:12}" + "".join(f"{of_case[key]:10.2f}" for key in ("p50", "p99", "cpu")))
    cpu = {name: of_case["cpu"] for name, of_case in figures.items()}
    figures["ratios"] = {
        "features / dense": cpu["features"] / max(cpu["model"] - cpu["tables"], 1e-9),
        "features / model": cpu["features"] / cpu["model"],
        "served / model": cpu["served"] / cpu["model"],
    }
    if "nvtabular" in cpu:
        figures["ratios"]["nvtabular / loaded"] = cpu["nvtabular"] / cpu["loaded"]
    print(f"{count:10,}  {'; '.join(f'{name} {ratio:.2f}' for name, ratio in figures['ratios'].items())}")


if __name__ == "__main__":
    main()
