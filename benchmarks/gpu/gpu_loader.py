"""The cuDF engine of the loader on a GPU: equal to arrow's, and how fast?

    python benchmarks/gpu/gpu_loader.py [--rows 2000000] [--batch-size 65536] [--pool-rows 1048576] [--repeats 5]

Writes the dataset of `benchmarks/loader.py` (40 columns, row groups of 131,072 rows), reads one shuffled epoch by
both engines, and stops where any array of a batch differs in any bit. Then it times epochs, which go over all
cases in turn; the best of `--repeats` counts, a first one, which compiles CuPy's kernels, does not.

- decode: pylibcudf reads each file in one call, and nothing else. The floor of what the engine can be.
- cudf: `Loader(engine="cudf").tensorflow()`, shuffled in pools of `--pool-rows`; tensors on the GPU.
- cudf, default pools: the same with the loader's own pools of 524,288 rows.
- cudf, in file order: unshuffled.
- arrow + copy: arrow's engine, shuffled, its blocks copied to the GPU whole, the cheapest way to do that.
- fit, cudf: an epoch of a model that does next to nothing, fed by `loader.tensorflow()`.
- fit, cudf by the host: the same by `fit(loader)`, through `tf.data`.
- fit, arrow: the same with arrow's engine, through `tf.data`.

The limits printed beside them come from the machine, measured in the same run: how fast the GPU's memory copies
and how fast the host's memory is copied to it. By memory: the engine passes over each row this often: decoded
columns are written, read, written into the pool, read for the checks, read and written into a batch (with int32
as int64). By the bus: a file's compressed bytes cross it once; arrow + copy sends decoded ones.

With --dry NumPy stands in for the GPU: figures mean nothing, but the script is seen to run.
The table is followed by one line of JSON.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # cuDF's memory is not TensorFlow's
sys.path.extend(str(Path(__file__).parents[2] / room) for room in ("benchmarks", "tests/data"))

import numpy as np
import tensorflow as tf
from device_engines import by_numpy, host_batches, widened
from loader import fit, write_dataset

import kerasrec as kr


def assert_equal(folder, args, device):
    """Every bit of one shuffled epoch."""
    options = {"shuffle": True, "seed": 1, "pool_rows": args.pool_rows}
    engines = device(folder, args.batch_size, **options), kr.Loader(folder, args.batch_size, **options)
    for step, (found, expected) in enumerate(zip(*map(host_batches, engines), strict=True)):
        flat = tf.nest.flatten(found), tf.nest.flatten(widened(expected))
        for mine, theirs in zip(*flat, strict=True):
            assert mine.dtype == theirs.dtype, f"batch {step}: {mine.dtype} is not {theirs.dtype}"
            assert mine.tobytes() == theirs.tobytes(), f"batch {step} differs"
    return step + 1


class Gpu:
    """What is asked of the device itself."""

    def __init__(self):
        import cupy
        import pylibcudf

        self.xp, self.cudf = cupy, pylibcudf
        self.name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        self.wait = cupy.cuda.Device().synchronize

    def decode(self, path, names):
        options = self.cudf.io.parquet.ParquetReaderOptions.builder(self.cudf.io.SourceInfo([str(path)])).build()
        options.set_column_names(names)
        self.cudf.io.parquet.read_parquet(options)

    def seconds_a_byte(self, size=1 << 30):
        """(copied within its memory, which reads and writes it; copied to it from the host's pageable memory)."""
        host = np.zeros(size, np.uint8)
        source, target = self.xp.zeros(size, np.uint8), self.xp.zeros(size, np.uint8)
        within = best(lambda: (self.xp.copyto(target, source), self.wait()))
        across = best(lambda: (target.set(host), self.wait()))
        return within / (2 * size), across / size


class Dry:
    xp, name = np, "none, NumPy stands in"

    def wait(self):
        pass

    def decode(self, path, names):
        import pyarrow.parquet as pq

        pq.read_table(path, columns=names)

    def seconds_a_byte(self, size=1 << 26):
        source, target = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        return best(lambda: np.copyto(target, source)) / (2 * size), best(lambda: np.copyto(target, source)) / size


def best(run, repeats=5):
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (
        ("rows", 2_000_000),
        ("batch-size", 65_536),
        ("pool-rows", 1_048_576),
        ("continuous", 13),
        ("categorical", 26),
        ("files", 4),
        ("row-group-rows", 131_072),
        ("repeats", 5),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default:,}")
    parser.add_argument("--dry", action="store_true", help="NumPy in place of the GPU")
    args = parser.parse_args()
    gpu = Dry() if args.dry else Gpu()
    device = by_numpy if args.dry else lambda *a, **o: kr.Loader(*a, engine="cudf", **o)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder, args.rows, args.continuous, args.categorical, args.files, args.row_group_rows)
        paths = sorted(folder.glob("*.parquet"))
        print(f"{assert_equal(folder, args, device)} batches of cuDF's are arrow's, bit by bit", flush=True)

        pools = {"shuffle": True, "pool_rows": args.pool_rows}
        on_gpu, arrow = device(folder, args.batch_size, **pools), kr.Loader(folder, args.batch_size, **pools)
        names = arrow.schema.continuous.names

        def decode():
            for path in paths:
                gpu.decode(path, arrow.schema.names)

        def through(loader):
            return lambda: [None for _ in loader.tensorflow()]

        def copied():
            for batch in arrow._stream.batches():
                for block in batch.blocks.values():
                    gpu.xp.asarray(block)

        cases = {
            "decode": decode,
            "cudf": through(on_gpu),
            "cudf, default pools": through(device(folder, args.batch_size, shuffle=True)),
            "cudf, in file order": through(device(folder, args.batch_size)),
            "arrow + copy": copied,
            "fit, cudf": fit(on_gpu.tensorflow(), args.rows, names),
            "fit, cudf by the host": fit(on_gpu, args.rows, names),
            "fit, arrow": fit(arrow, args.rows, names),
        }
        rounds = []
        for _ in range(args.repeats + 1):
            times = []
            for epoch in cases.values():
                start = time.perf_counter()
                epoch()
                gpu.wait()
                times.append(time.perf_counter() - start)
            rounds.append(times)
        compressed = sum(path.stat().st_size for path in paths) / args.rows

    seconds = dict(zip(cases, np.min(rounds[1:], axis=0) / args.rows, strict=True))  # a row
    within, across = gpu.seconds_a_byte()
    row = 4 * (1 + args.continuous + args.categorical)
    seconds["limit by memory"] = within * (6 * row + 4 * args.categorical)
    seconds["limit by the bus, cudf"] = across * compressed
    seconds["limit by the bus, arrow + copy"] = across * row
    print(f"GPU: {gpu.name}; memory {1e-9 / within:.0f} GB/s, from the host {1e-9 / across:.1f} GB/s; ", end="")
    print(f"a row is {row} bytes, {compressed:.0f} in the file\n")
    print(f"{'':32} {'M rows/s':>9} {'of arrow + copy':>16} {'of decode':>10}")
    for case, each in seconds.items():
        print(
            f"{case:32} {1e-6 / each:9.2f} {seconds['arrow + copy'] / each:16.2f} {seconds['decode'] / each:10.2f}"
        )
    facts = {"gpu": gpu.name, "memory_GB_per_s": 1e-9 / within, "from_host_GB_per_s": 1e-9 / across}
    figures = {case: int(1 / each) for case, each in seconds.items()}
    print(json.dumps({"benchmark": "gpu_loader", **vars(args), **facts, "rows_per_s": figures}))


if __name__ == "__main__":
    main()
