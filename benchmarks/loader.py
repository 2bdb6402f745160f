"""How fast are rows read, shuffled and handed to `fit`?

    python benchmarks/loader.py [--rows 2000000] [--batch-size 65536] [--repeats 3] ...

Writes a dataset of one target, 13 continuous and 26 categorical columns (ids log-uniform over 1,000,000),
then times one epoch after another. Rounds go over all cases in turn, and the best of `--repeats` rounds
counts; a first round, which pays for page faults and tracing, does not. CPU is the time that all threads took
together: on a machine that others use as well, that is the figure to compare.

- decode: pyarrow reads every row group and nothing else, on all cores. The floor: a loader cannot be faster.
- loader: `for features, target in Loader(...)`.
- tf.data: `Loader.get_tf_dataset()`, which is what Keras's TensorFlow trainer consumes.
- fit: an epoch of a model that costs next to nothing (13 numbers -> 1), so the loader is what is timed.
- PyDataset in fit: the same batches from the same background threads, through `keras.utils.PyDataset`.
- from_generator: pyarrow batches passed to TensorFlow column by column, unshuffled, as one writes it by hand.

What the limit is (2 cores, by profile, CPU time per 2M rows shuffled): decoding 0.17 s and writing the pool
0.09 s on the reading thread; permuting and gathering 0.15 s on the batching thread; passing on to TensorFlow
0.05 s; and 0.1 s of page faults, because large arrays are given back to the system and taken anew. So no
single thing binds: beside a model that keeps all cores busy the loader costs the sum, about 0.3 microseconds
of one core a row. With the pool column by column instead of row by row in memory, gathering alone costs 0.5
s.

Of the cases beside it: PyDataset costs 15 to 45% more CPU than the loader in fit, at batches of 65,536 and of
4,096, since Keras passes it on column by column. from_generator costs less at large batches, as it neither
permutes nor looks at values nor copies them out of Arrow's buffers; at batches of 4,096, where each tensor
costs, it costs as much unshuffled as the loader does shuffled.

The table is followed by one line of JSON: {"rows_per_s": {case: number}, "cpu_us_per_row": {case: number}, ...}.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

import kerasrec as kr

IDS = 1_000_000


def write_dataset(folder, rows, continuous, categorical, files, row_group_rows):
    columns = [kr.Column("label", "float32", ("target", "binary"))]
    columns += [kr.Column(f"x{i}", "float32", ("continuous",)) for i in range(continuous)]
    columns += [kr.Column(f"c{i}", "int32", ("categorical",), IDS, 16, f"c{i}") for i in range(categorical)]
    kr.Schema(columns).save(folder)
    for index in range(files):
        count = rows * (index + 1) // files - rows * index // files
        rng = np.random.default_rng(index)
        made = {"label": rng.integers(0, 2, count).astype("float32")}
        made |= {f"x{i}": rng.normal(size=count).astype("float32") for i in range(continuous)}
        made |= {f"c{i}": (IDS ** rng.random(count)).astype("int32") - 1 for i in range(categorical)}
        pq.write_table(pa.table(made), folder / f"part-{index:05d}.parquet", row_group_size=row_group_rows)


def timed(epoch):
    """(wall seconds, CPU seconds) a row of one epoch; `epoch()` returns how many rows it saw."""
    wall, cpu = time.perf_counter(), time.process_time()
    rows = epoch()
    return (time.perf_counter() - wall) / rows, (time.process_time() - cpu) / rows


def decode(folder):
    rows = 0
    for path in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            rows += sum(file.read_row_group(index).num_rows for index in range(file.num_row_groups))
    return rows


def count(batches):
    return sum(target.shape[0] for _, target in batches)


class Tiny(keras.Model):
    def __init__(self, names):
        super().__init__()
        self.names, self.top = names, keras.layers.Dense(1)

    def call(self, features):
        return self.top(keras.ops.stack([features[name] for name in self.names], axis=-1))


def fit(data, rows, names):
    """An epoch of `fit` as a function; the model is built and traced once."""
    model = Tiny(names)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (
        ("rows", 2_000_000),
        ("batch-size", 65_536),
        ("continuous", 13),
        ("categorical", 26),
        ("files", 4),
        ("row-group-rows", 131_072),
        ("repeats", 3),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default:,}")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder, args.rows, args.continuous, args.categorical, args.files, args.row_group_rows)
        plain = kr.Loader(folder, args.batch_size)
        shuffled = kr.Loader(folder, args.batch_size, shuffle=True)
        names = plain.schema.continuous.names
        naive = from_generator(folder, plain.schema, args.batch_size)
        cases = {
            "decode": lambda: decode(folder),
            "loader": lambda: count(plain),
            "loader, shuffled": lambda: count(shuffled),
            "tf.data": lambda: count(plain.get_tf_dataset()),
            "tf.data, shuffled": lambda: count(shuffled.get_tf_dataset()),
            "fit": fit(plain, args.rows, names),
            "fit, shuffled": fit(shuffled, args.rows, names),
            "PyDataset in fit, shuffled": fit(ByPyDataset(shuffled), args.rows, names),
            "from_generator": lambda: count(naive),
            "from_generator in fit": fit(naive, args.rows, names),
        }
        print(f"{shuffled!r}\n")
        rounds = [[timed(epoch) for epoch in cases.values()] for _ in range(args.repeats + 1)]
    best = np.min(rounds[1:], axis=0)  # (cases, wall and CPU)
    print(f"{'':28} {'M rows/s':>8} {'of decode':>10} {'CPU us/row':>11}")
    for case, (wall, cpu) in zip(cases, best, strict=True):
        print(f"{case:28} {1e-6 / wall:8.2f} {best[0, 0] / wall:10.2f} {1e6 * cpu:11.3f}")
    wall, cpu = best.T
    figures = {
        "rows_per_s": dict(zip(cases, (1 / wall).astype(int).tolist(), strict=True)),
        "cpu_us_per_row": dict(zip(cases, (1e6 * cpu).round(4).tolist(), strict=True)),
    }
    print(json.dumps({"benchmark": "loader", **vars(args), "cores": os.cpu_count(), **figures}))


if __name__ == "__main__":
    main()
