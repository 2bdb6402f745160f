"""Measure how much longer a training step takes with batches from Parquet than with batches in memory.

    python benchmarks/loader_step.py [--rows 800000] [--batch-size 4096] [--repeats 3] [--vocabulary 1000000]

The model is that of `train_step.py`: 26 tables x 1,000,000 x 32, 13 dense columns, towers 512-256-32 and 512-256,
Adagrad, made by `kr.models.DLRM`; ids follow a power law (1.2) truncated at the last row. One model trains epoch
by epoch in `fit`, in turns from

- memory: batches that are tensors already, passed on without a copy, two ahead (a few of them, repeated);
- loader: `kr.Loader` of a folder of Parquet files, shuffled: it decodes, permutes and gathers next to the model.

The time of a step is that of the epoch from the end of its second step on, divided by the steps (the first finds
cold caches and a pool that is still being decoded; that time is printed as "start"). The ratio is the median over
rounds of the ratio within a round; the bar is 1.05.

The table is followed by one line of JSON: {"bars": {name: {"bar", "wall", "cpu"}}, "rounds": {case: [...]}, ...}.
The exit status is 1 if the bar is missed by wall time.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from peers.shared import BOTTOM, DENSE, FEATURES, TOP, Case, batches, now
from rich.console import Console
from rich.table import Table

import kerasrec as kr

WIDTH = 32


def schema_of(vocabulary):
    columns = [kr.Column(f"x{i}", "float32", ("continuous",)) for i in range(DENSE)]
    columns += [kr.Column(f"c{i}", "int32", ("categorical",), vocabulary, WIDTH, f"c{i}") for i in range(FEATURES)]
    return kr.Schema([kr.Column("label", "float32", ("target", "binary")), *columns])


def columns_of(batch):
    """One batch of `peers.shared` as columns (batch,) by name."""
    dense, ids, target = batch
    named = {f"x{i}": np.ascontiguousarray(dense[:, i]) for i in range(DENSE)}
    return named | {f"c{i}": np.ascontiguousarray(ids[i, :, 0]) for i in range(FEATURES)} | {"label": target[:, 0]}


def write(folder, batch_list, rows, schema):
    """The batches, one after another and round and round, in files of eight row groups of 65,536 rows."""
    schema.save(folder)
    columns = {name: np.concatenate([batch[name] for batch in batch_list]) for name in batch_list[0]}
    for index, start in enumerate(range(0, rows, 8 * 65_536)):
        at = np.arange(start, min(start + 8 * 65_536, rows)) % len(columns["label"])
        table = pa.table({name: column[at] for name, column in columns.items()})
        pq.write_table(table, folder / f"part-{index:05d}.parquet", row_group_size=65_536)


def in_memory(batch_list, steps):
    def pair(batch):
        return {name: column for name, column in batch.items() if name != "label"}, batch["label"][:, None]

    data = [tf.data.Dataset.from_tensors(pair(batch)) for batch in batch_list]
    rounds = data[0]
    for one in data[1:]:
        rounds = rounds.concatenate(one)

    def forget_size(tensor):  # the last batch of a pass is shorter
        return tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=[None, *tensor.shape[1:]])

    return rounds.repeat().take(steps).map(lambda *batch: tf.nest.map_structure(forget_size, batch)).prefetch(2)


class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.times = [now()]

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(now())


def epoch(model, data):
    clock = Clock()
    model.fit(data, epochs=1, verbose=0, callbacks=[clock])
    wall, cpu = np.array(clock.times).T * 1e3
    steps = len(wall) - 3
    return {
        "wall_ms": (wall[-1] - wall[2]) / steps,
        "cpu_ms": (cpu[-1] - cpu[2]) / steps,
        "start_ms": wall[2] - wall[0],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=800_000)
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    batch_list = [columns_of(batch) for batch in batches(Case("", args.vocabulary, args.batch_size, WIDTH))]
    schema = schema_of(args.vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), batch_list, args.rows, schema)
        loader = kr.Loader(folder, args.batch_size, shuffle=True)
        feeds = {"memory": in_memory(batch_list, len(loader)), "loader": loader}
        model = kr.models.DLRM(schema, embedding_dim=WIDTH, bottom_units=[*BOTTOM, WIDTH], top_units=TOP)
        model.compile(kr.optimizers.Adagrad(0.01), loss="binary_crossentropy")
        taken = {name: [] for name in feeds}
        for number in range(args.repeats + 1):  # the first round, which traces, is not counted
            for name, data in feeds.items():
                figures = epoch(model, data)
                if number:
                    taken[name].append(figures)
    table = Table("batches from", "ms a step", "CPU ms", "start ms", title=f"DLRM, {len(loader)} steps an epoch")
    for name, figures in taken.items():
        keys = ("wall_ms", "cpu_ms", "start_ms")
        table.add_row(name, *(f"{statistics.median(one[key] for one in figures):.1f}" for key in keys))
    Console(width=100).print(table)
    ratios = {
        clock: statistics.median(
            a[f"{clock}_ms"] / b[f"{clock}_ms"] for a, b in zip(taken["loader"], taken["memory"], strict=True)
        )
        for clock in ("wall", "cpu")
    }
    print("from the loader over from memory, at most 1.05: {wall:.3f} wall, {cpu:.3f} CPU".format(**ratios))
    bars = {"loader over memory": {"bar": 1.05, **ratios}}
    facts = {"benchmark": "loader_step", **vars(args), "cores": os.cpu_count()}
    print(json.dumps({**facts, "bars": bars, "rounds": taken}))
    if ratios["wall"] > 1.05:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
