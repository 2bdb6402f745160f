"""Measure a training step of every ranking, sequence and multi-task model, beside DLRM's.

    python benchmarks/model_steps.py --out docs/figures/model_steps.json

Each model is built with its defaults and `embedding_dim=16` from a schema of 26 categorical columns with
100,000 ids and 13 continuous columns; models of histories have a list of 20 ids more, models of several targets
two targets. A step is one of `fit` with batches of 4,096 rows in memory, from the end of the previous step to
its own. Ids follow a power law (exponent 1.2) truncated at the last id.

DLRM and each other model take turns, for `--rounds` rounds: the ratio to DLRM is the median over rounds of the
ratio of both medians, and a model's milliseconds are that ratio times DLRM's over all rounds, so that slower
minutes of the machine do not count against the model that was running. CPU time is that of all threads.

The last line is JSON: {"dlrm_ms": ..., "models": {name: {"ms": ..., "to_dlrm": ..., "parameters": ...}}, ...},
where the parameters are those beside the embedding tables, and of the tables.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import kerasrec as kr
from kerasrec.models.registry import MULTITASK, RANKING, SEQUENCE
from kerasrec.schema import Column, Hotness, Schema, Tag

MODELS = {**RANKING, **SEQUENCE, **MULTITASK}
BATCHES = 8
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def schema_of(name: str, args: argparse.Namespace) -> Schema:
    """The columns of a model of the registry."""
    columns = [
        Column(f"c{i}", "int32", (Tag.CATEGORICAL,), cardinality=args.vocabulary, table=f"c{i}")
        for i in range(args.columns)
    ]
    if name in SEQUENCE:
        tags, length = (Tag.CATEGORICAL, Tag.LIST), args.history
        hotness = Hotness(length, length, length)
        columns.append(Column("history", "int32", tags, cardinality=args.vocabulary, table="c0", hotness=hotness))
    columns += [Column(f"x{i}", "float32", (Tag.CONTINUOUS,)) for i in range(args.continuous)]
    targets = ["click", "buy"] if name in MULTITASK else ["click"]
    return Schema([*columns, *(Column(target, "float32", (Tag.TARGET, Tag.BINARY)) for target in targets)])


def batches(schema: Schema, args: argparse.Namespace) -> tf.data.Dataset:
    """A few batches round and round; the size of a batch is unknown to the graph, as it is in `kr.Loader`'s."""
    rng = np.random.default_rng(0)
    share = np.cumsum(np.arange(1, args.vocabulary, dtype=np.float64) ** -1.2)

    def ids(*shape: int) -> np.ndarray:  # from 1, since 0 in a list is padding
        return np.searchsorted(share, share[-1] * rng.random(shape), side="right").astype("int32") + 1

    def batch() -> tuple[dict[str, np.ndarray], Any]:
        rows = args.batch
        x = {c.name: ids(rows, args.history) if c.is_list else ids(rows) for c in schema.features.categorical}
        x = {name: np.minimum(value, args.vocabulary - 1) for name, value in x.items()}
        x |= {c.name: rng.normal(size=rows).astype("float32") for c in schema.features.continuous}
        y = {c.name: rng.integers(0, 2, (rows, 1)).astype("float32") for c in schema.targets}
        return x, {**y, "buy": y["click"] * y["buy"]} if "buy" in y else y["click"]  # none buys without a click

    sets = [tf.data.Dataset.from_tensors(batch()) for _ in range(BATCHES)]
    data = sets[0]
    for other in sets[1:]:
        data = data.concatenate(other)

    def forget_size(tensor: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=[None, *tensor.shape[1:]])

    return data.repeat().map(lambda *xy: tf.nest.map_structure(forget_size, xy)).prefetch(2)


class Steps(keras.callbacks.Callback):
    """What each step took, from the end of the one before it."""

    def on_train_begin(self, logs: Any = None) -> None:
        self.times: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        float(logs["loss"])  # waits for the step
        self.times.append({name: clock() for name, clock in CLOCKS.items()})

    def milliseconds(self, clock: str) -> float:
        times = [taken[clock] for taken in self.times]
        return 1e3 * statistics.median(np.diff(times).tolist())


class Training:
    """A model that trains for some steps when it is called."""

    def __init__(self, name: str, args: argparse.Namespace):
        schema = schema_of(name, args)
        has_width = "embedding_dim" in inspect.signature(MODELS[name]).parameters
        keras.utils.set_random_seed(0)
        self.model = MODELS[name](schema, **({"embedding_dim": args.width} if has_width else {}))
        self.model.compile(kr.optimizers.Adagrad(), metrics=[])
        self.data = batches(schema, args)
        self(3)

    def __call__(self, steps: int) -> dict[str, float]:
        seen = Steps()
        self.model.fit(self.data, steps_per_epoch=steps + 2, epochs=1, verbose=0, callbacks=[seen])
        return {clock: seen.milliseconds(clock) for clock in CLOCKS}

    def parameters(self) -> dict[str, int]:
        dense = sum(int(np.prod(variable.shape)) for variable in self.model.trainable_variables)
        tables = sum(
            int(np.prod(variable.shape))
            for layer in self.model._flatten_layers()
            if isinstance(layer, kr.layers.DistributedEmbedding)
            for variable in layer.variables
        )
        return {"dense": dense - tables, "tables": tables}


def compare(name: str, dlrm: Training, args: argparse.Namespace) -> dict[str, Any]:
    """A model's figures beside DLRM's; both train in turn."""
    other = dlrm if name == "dlrm" else Training(name, args)
    rounds = [(dlrm(args.steps), other(args.steps)) for _ in range(args.rounds)]
    ratio = {clock: statistics.median(b[clock] / a[clock] for a, b in rounds) for clock in CLOCKS}
    return {
        "to_dlrm": round(ratio["wall"], 3) if name != "dlrm" else 1.0,
        "cpu_to_dlrm": round(ratio["cpu"], 3) if name != "dlrm" else 1.0,
        "dlrm_ms": [round(a["wall"], 2) for a, _ in rounds],
        "dlrm_cpu_ms": [round(a["cpu"], 2) for a, _ in rounds],
        "parameters": other.parameters(),
    }


def main() -> None:
    args = arguments()
    dlrm, models = Training("dlrm", args), {}
    for name in args.models:
        models[name] = compare(name, dlrm, args)
        gc.collect()
        print(f"{name:14} {models[name]['to_dlrm']:.2f} of DLRM's step", flush=True)
    base = {
        clock: statistics.median(ms for figures in models.values() for ms in figures.pop(clock))
        for clock in ("dlrm_ms", "dlrm_cpu_ms")
    }
    for figures in models.values():
        figures["ms"] = round(base["dlrm_ms"] * figures["to_dlrm"], 2)
        figures["cpu_ms"] = round(base["dlrm_cpu_ms"] * figures["cpu_to_dlrm"], 2)
    print(f"\n{'model':14}{'ms':>9}{'CPU ms':>9}{'of DLRM':>9}{'weights beside tables':>23}")
    for name, figures in models.items():
        print(
            f"{name:14}{figures['ms']:9.1f}{figures['cpu_ms']:9.1f}{figures['to_dlrm']:9.2f}"
            f"{figures['parameters']['dense']:23,}"
        )
    settings = {key: value for key, value in vars(args).items() if key not in ("models", "out")}
    report = {"benchmark": "model_steps", "cores": os.cpu_count(), **settings, **base, "models": models}
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS), metavar="MODEL")
    parser.add_argument("--columns", type=int, default=26, help="categorical columns")
    parser.add_argument("--continuous", type=int, default=13, help="continuous columns")
    parser.add_argument("--vocabulary", type=int, default=100_000, help="ids of each categorical column")
    parser.add_argument("--history", type=int, default=20, help="ids of a history")
    parser.add_argument("--width", type=int, default=16, help="of the embeddings")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=8, help="of a model in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
