"""Measure how fast rows are read, shuffled and handed to `fit`, next to Merlin's dataloader, tf.data and decoding.

    python benchmarks/loader.py [--rows 8000000] [--batch-size 65536] [--repeats 3] ...

Writes a dataset of one target, 13 continuous and 26 categorical columns (ids log-uniform over 1,000,000) and one
of 8 list columns (0 to 20 ids per row), then times one epoch of each case. Rounds go over all cases in turn; a
first round, with page faults and tracing, is not counted. A ratio is the median over rounds of the ratio within a
round. CPU time is that of all threads: on a machine that others use as well, compare that.

- decode: pyarrow reads every row group and nothing else, on all cores. No loader can be faster.
- loader: `for features, target in Loader(...)`.
- tf.data: `Loader.get_tf_dataset()`, which Keras's TensorFlow trainer consumes.
- fit: one epoch of a model that costs next to nothing (one number to one number), so that the loader is timed.
- Merlin: its dataloader 23.8 on CPUs, iterated without a model, in a process of its own (`sh
  benchmarks/peers/setup.sh merlin` installs it; left out if it is not installed). It shuffles within a partition.
  Lists cost it a fraction of a millisecond per row, so it reads only a hundredth of those rows.
- PyDataset in fit: the same batches from the same background threads, through `keras.utils.PyDataset`.
- from_generator: pyarrow batches passed to TensorFlow column by column, not shuffled.
- tf.data by rows: the same with `unbatch().shuffle(4 batches).batch()`, as in TensorFlow's guides; only 2 batches.

The bars: `fit`, shuffled, at least 2 times as fast as Merlin's shuffled loop, and at least 0.4 of decode.

The table is followed by one line of JSON: {"bars": {name: {"bar", "wall", "cpu"}}, "results": {case: {...}}, ...}.
The exit status is 1 if a bar is missed by wall time.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from peers.worker import Worker
from rich.console import Console
from rich.table import Table

import kerasrec as kr

IDS = 1_000_000
LISTS, LONGEST = 8, 20
PEERS = Path(__file__).resolve().parent / "peers"
MERLIN = PEERS / ".venv-merlin" / "bin" / "python"


# ---- data ----------------------------------------------------------------------------------------------------
def ids(rng, count):
    return (IDS ** rng.random(count)).astype("int32") - 1


def write_scalars(folder, rows, args):
    columns = [kr.Column(f"x{i}", "float32", ("continuous",)) for i in range(args.continuous)]
    columns += [kr.Column(f"c{i}", "int32", ("categorical",), IDS, 16, f"c{i}") for i in range(args.categorical)]

    def make(rng, count):
        arrays = {f"x{i}": rng.normal(size=count).astype("float32") for i in range(args.continuous)}
        return arrays | {f"c{i}": ids(rng, count) for i in range(args.categorical)}

    write(folder, rows, args, columns, make)


def write_lists(folder, rows, args):
    columns = [kr.Column(f"l{i}", "int32", ("categorical", "list"), IDS, 16, f"l{i}") for i in range(LISTS)]

    def make(rng, count):
        arrays = {}
        for column in columns:
            offsets = np.concatenate([[0], np.cumsum(rng.integers(0, LONGEST + 1, count))]).astype("int32")
            arrays[column.name] = pa.ListArray.from_arrays(offsets, ids(rng, offsets[-1]))
        return arrays

    write(folder, rows, args, columns, make)


def write(folder, rows, args, columns, make):
    folder.mkdir()
    kr.Schema([kr.Column("label", "float32", ("target", "binary")), *columns]).save(folder)
    for index in range(args.files):
        count = rows * (index + 1) // args.files - rows * index // args.files
        rng = np.random.default_rng(index)
        table = {"label": rng.integers(0, 2, count).astype("float32"), **make(rng, count)}
        pq.write_table(pa.table(table), folder / f"part-{index:05d}.parquet", row_group_size=args.row_group_rows)


# ---- cases: each is called for an epoch and returns how many rows it saw -------------------------------------
def decode(folder):
    rows = 0
    for path in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            rows += sum(file.read_row_group(index).num_rows for index in range(file.num_row_groups))
    return rows


def count(batches):
    return sum(target.shape[0] for _, target in batches)


class Tiny(keras.Model):
    """All columns come to it; it reads one."""

    def __init__(self):
        super().__init__()
        self.top = keras.layers.Dense(1)

    def call(self, features):
        return self.top(features["x0"][:, None])


def fit(data, rows):
    """A `fit` of one epoch as a function; the model is built and traced once."""
    model = Tiny()
    model.compile("sgd", "mse", jit_compile=False)
    return lambda: [model.fit(data, verbose=0, shuffle=False), rows][1]


class ByPyDataset(keras.utils.PyDataset):
    def __init__(self, loader):
        super().__init__()
        self.loader, self.batches = loader, None

    def __len__(self):
        return len(self.loader)

    def __getitem__(self, index):
        if index == 0 or self.batches is None:
            self.batches = iter(self.loader)
        return next(self.batches)


def from_generator(folder, schema, batch_size):
    def batches():
        for path in sorted(folder.glob("*.parquet")):
            for batch in pq.ParquetFile(path).iter_batches(batch_size):
                columns = {name: batch[name].to_numpy() for name in schema.names}
                target = columns.pop("label")[:, None]
                yield columns, target

    features = {column.name: tf.TensorSpec((None,), column.dtype) for column in schema.features}
    spec = (features, tf.TensorSpec((None, 1), "float32"))
    return tf.data.Dataset.from_generator(batches, output_signature=spec).prefetch(2)


def merlin(folder, batch_size, shuffle):
    """Merlin's loader in a process that times an epoch whenever it is told to; nothing where it is missing."""
    if not MERLIN.exists():
        return {}
    worker = Worker("Merlin", [MERLIN, PEERS / "merlin_loader.py", folder, batch_size, int(shuffle)])
    worker.hear()
    return {"Merlin, shuffled" if shuffle else "Merlin": worker}


# ---- the turns -----------------------------------------------------------------------------------------------
def timed(case):
    """Wall and CPU microseconds a row of one epoch."""
    if isinstance(case, Worker):
        figures = case.ask()
        return {clock: 1e6 * figures[f"{clock}_s"] / figures["rows"] for clock in ("wall", "cpu")}
    gc.collect()  # the iterator of a case before waits for tf.data's tuner to wake up, for up to a minute
    wall, cpu = time.perf_counter(), time.process_time()
    rows = case()
    return {
        "wall": 1e6 * (time.perf_counter() - wall) / rows,
        "cpu": 1e6 * (time.process_time() - cpu) / rows,
    }


def rounds_of(cases, repeats):
    """{case: its figures, one dict a round}; what the first round took is forgotten."""
    taken = {case: [] for case in cases}
    for _ in range(repeats + 1):
        for name, case in cases.items():
            taken[name].append(timed(case))
    return {name: figures[1:] for name, figures in taken.items()}


def over(slow, fast, clock):
    """How many times as long `slow` took as `fast`: the median over rounds."""
    return statistics.median(a[clock] / b[clock] for a, b in zip(slow, fast, strict=True))


def scalar_cases(folder, args):
    plain = kr.Loader(folder, args.batch_size)
    shuffled = kr.Loader(folder, args.batch_size, shuffle=True)
    print(f"{shuffled!r}\n", file=sys.stderr)
    naive = from_generator(folder, plain.schema, args.batch_size)
    by_rows = naive.take(2).unbatch().shuffle(4 * args.batch_size).batch(args.batch_size)
    return {
        "decode": lambda: decode(folder),
        "loader": lambda: count(plain),
        "loader, shuffled": lambda: count(shuffled),
        "tf.data": lambda: count(plain.get_tf_dataset()),
        "tf.data, shuffled": lambda: count(shuffled.get_tf_dataset()),
        "fit": fit(plain, args.rows),
        "fit, shuffled": fit(shuffled, args.rows),
        **merlin(folder, args.batch_size, False),
        **merlin(folder, args.batch_size, True),
        "PyDataset in fit, shuffled": fit(ByPyDataset(shuffled), args.rows),
        "from_generator": lambda: count(naive),
        "from_generator in fit": fit(naive, args.rows),
        "tf.data by rows, shuffled": lambda: count(by_rows),
    }


def list_cases(folder, few, args):
    shuffled = kr.Loader(folder, args.batch_size, shuffle=True)
    return {
        "lists: decode": lambda: decode(folder),
        "lists: loader, shuffled": lambda: count(shuffled),
        "lists: tf.data, shuffled": lambda: count(shuffled.get_tf_dataset()),
        **{f"lists: {name}": worker for name, worker in merlin(few, args.batch_size, True).items()},
    }


def measure(cases, repeats):
    try:
        return rounds_of(cases, repeats)
    finally:
        for case in cases.values():
            if isinstance(case, Worker):
                case.close()


def bars_of(taken):
    bars = {}
    for name, bar, slow, fast in (
        ("fit, shuffled, of decode", 0.4, "decode", "fit, shuffled"),
        ("fit, shuffled, over Merlin's bare loop", 2.0, "Merlin, shuffled", "fit, shuffled"),
    ):
        if slow in taken:
            bars[name] = {"bar": bar} | {
                clock: round(over(taken[slow], taken[fast], clock), 3) for clock in ("wall", "cpu")
            }
    return bars


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (
        ("rows", 8_000_000),
        ("batch-size", 65_536),
        ("continuous", 13),
        ("categorical", 26),
        ("files", 4),
        ("row-group-rows", 131_072),
        ("repeats", 3),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default:,}")
    args = parser.parse_args()
    if not MERLIN.exists():
        print(f"left out: Merlin; sh {PEERS / 'setup.sh'} merlin installs it", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        scalars, lists, few = (Path(name) / part for part in ("scalars", "lists", "few"))
        write_scalars(scalars, args.rows, args)
        write_lists(lists, args.rows // 16, args)
        write_lists(few, args.rows // 1600, args)
        taken = measure(scalar_cases(scalars, args), args.repeats)
        taken |= measure(list_cases(lists, few, args), args.repeats)
    table = Table(
        "case", "M rows/s", "of decode", "CPU us/row", "x fit, shuffled", title=f"{os.cpu_count()} cores"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    results = {}
    for case, figures in taken.items():
        floor = taken["lists: decode" if case.startswith("lists") else "decode"]
        ours = taken["lists: tf.data, shuffled" if case.startswith("lists") else "fit, shuffled"]
        wall, cpu = (statistics.median(one[clock] for one in figures) for clock in ("wall", "cpu"))
        of_decode, to_ours = over(floor, figures, "wall"), over(figures, ours, "wall")
        table.add_row(case, f"{1 / wall:.2f}", f"{of_decode:.2f}", f"{cpu:.3f}", f"{to_ours:.2f}")
        results[case] = {"rounds": figures, "of_decode": of_decode, "times_ours": to_ours}
    console, bars = Console(width=100), bars_of(taken)
    console.print(table)
    for name, figures in bars.items():
        console.print("{0}, at least {bar}: {wall} wall, {cpu} CPU".format(name, **figures), highlight=False)
    print(
        json.dumps(
            {"benchmark": "loader", **vars(args), "cores": os.cpu_count(), "bars": bars, "results": results}
        )
    )
    if any(figures["wall"] < figures["bar"] for figures in bars.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
