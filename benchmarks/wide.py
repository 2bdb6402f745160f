"""Measure the cost per column of 2,000 columns, next to 200 and to the same handwritten in Polars.

    python benchmarks/wide.py [--columns 2000] [--few 200] [--rows 2000] [--rounds 3]

Half of the columns contain ids, half numbers. Rows are few, so that the work per column dominates. A workflow
(Categorify; FillMissing, Normalize) is fitted on a frame and on a Parquet file of them, transforms and writes
them, is saved and loaded, and its TensorFlow implementation is traced; the Loader reads what was written once.
"by hand" does in Polars what fitting on the frame and collecting do. All times are CPU time of the process, the
minimum over rounds.

The table is followed by one line of JSON: {"columns": ..., "few": ..., "rows": ..., "cores": ..., "results":
[{"step": ..., "seconds": ..., "ms_per_column": ..., "of_few": ms per column over those of the few columns,
"of_by_hand": ...}]}.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

import kerasrec as kr
from kerasrec import etl


def frame(columns, rows):
    rng = np.random.default_rng(0)
    numbers = {f"number{i}": rng.normal(size=rows) for i in range(columns // 2)}
    return pl.DataFrame({f"id{i}": rng.integers(0, 20, rows) for i in range(columns - columns // 2)} | numbers)


def workflow(data):
    ids = [name for name in data.columns if name.startswith("id")]
    numbers = [name for name in data.columns if name.startswith("number")]
    return etl.Workflow((ids >> etl.Categorify()) + (numbers >> etl.FillMissing() >> etl.Normalize()))


def by_hand(data):
    """Vocabularies, means and deviations; then ids and normalized numbers."""
    ids = [name for name in data.columns if name.startswith("id")]
    numbers = [name for name in data.columns if name.startswith("number")]
    counted = {name: data[name].value_counts() for name in ids}  # one query of all would be quadratic in them
    words = {name: counts.sort("count", name, descending=[True, False]) for name, counts in counted.items()}
    filled = {name: pl.col(name).fill_nan(None).fill_null(0) for name in numbers}
    moments = data.lazy().select(
        *(x.mean().alias(f"mean {name}") for name, x in filled.items()),
        *(x.std(ddof=0).alias(f"std {name}") for name, x in filled.items()),
    )
    of = moments.collect().row(0, named=True)
    normal = {n: ((x - of[f"mean {n}"]) / of[f"std {n}"]).cast(pl.Float32) for n, x in filled.items()}
    # One query of a thousand replacements takes 20 s.
    at = {n: data[n].replace_strict(words[n][n], range(3, 3 + len(words[n])), default=2) for n in ids}
    return data.lazy().select(**normal).collect().with_columns(x.cast(pl.Int32) for x in at.values())


def steps(data, folder):
    """The steps by name, each to be run once, in this order."""
    import tensorflow as tf

    fitted, loaded = workflow(data), []
    data.write_parquet(folder / "raw.parquet")

    def traced():
        module = loaded[0].tensorflow_module()
        signature = {
            name: tf.TensorSpec(shape, dtype, name) for name, (dtype, shape) in loaded[0].raw_signature().items()
        }
        tf.function(lambda raw: module(raw), input_signature=[signature], autograph=False).get_concrete_function()

    return {
        "by hand": lambda: by_hand(data),
        "fit and collect a frame": lambda: workflow(data).fit_transform(data, progress=False).collect(),
        "fit on Parquet": lambda: fitted.fit(folder / "raw.parquet", progress=False),
        "to_parquet": lambda: fitted.transform(folder / "raw.parquet").to_parquet(folder / "out", progress=False),
        "save": lambda: fitted.save(folder / "workflow"),
        "load": lambda: loaded.append(etl.Workflow.load(folder / "workflow")),
        "Loader, one pass": lambda: sum(1 for _ in kr.Loader(folder / "out", batch_size=len(data))),
        "trace for serving": traced,
    }


def measure(columns, rows, rounds):
    data, best = frame(columns, rows), {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, step in steps(data, Path(folder)).items():
                start = time.process_time()
                step()
                best[name] = min(best.get(name, float("inf")), time.process_time() - start)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=2_000)
    parser.add_argument("--few", type=int, default=200)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    few, many = (measure(columns, args.rows, args.rounds) for columns in (args.few, args.columns))
    titles = ("step", "CPU s", "ms per column", f"x those of {args.few}", "x by hand")
    table = Table(*titles, title=f"{args.columns:,} columns, {args.rows:,} rows")
    results = []
    for name, seconds in many.items():
        each = seconds / args.columns * 1e3
        results.append(
            {
                "step": name,
                "seconds": seconds,
                "ms_per_column": each,
                "of_few": each / (few[name] / args.few * 1e3),
                "of_by_hand": seconds / many["by hand"],
            }
        )
        table.add_row(name, *(f"{figure:.2f}" for key, figure in results[-1].items() if key != "step"))
    Console().print(table)
    print(json.dumps({"benchmark": "wide", **vars(args), "cores": os.cpu_count(), "results": results}))


if __name__ == "__main__":
    main()
