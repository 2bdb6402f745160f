"""Measure the cost of JoinGroupby and TargetEncoding, next to handwritten joins.

    python benchmarks/etl_joins.py

A million rows of a user (100,000 names, some null), an item (20,000 numbers), a price, a click and a fold. For
each user, each item and each pair of them: count, mean and standard deviation of the price over their rows, and
the smoothed mean of clicks in the other folds. Fit, transform and write as Parquet:

- kerasrec: `Workflow.fit_transform(files).to_parquet(folder)`, which looks keys up (`etl/lookup/key_index.py`).
- polars: lazy `group_by` and left joins that keep the rows' order, in the streaming engine; the statistics are
  collected first, because they have to be kept.
- pandas: `groupby` and `merge`.

Each system runs in a process of its own that times only the work, in turns; reported are medians of ratios within
a round. CPU time is that of all threads; memory is peak resident memory, imports included. All systems must write
the same numbers (1e-4), or the run ends with an error.

The last line is JSON: {"results": [...], ...}.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KEYS = (["user"], ["item"], ["user", "item"])
SYSTEMS = ("kerasrec", "polars", "pandas")
FOLDS, SMOOTH = 5, 20


def write(path, rows):
    import numpy as np
    import polars as pl

    from kerasrec.datasets.power_law import Zipf

    rng = np.random.default_rng(5)
    users = pl.Series(Zipf(100_000, 1.05)(rng.random(rows))).cast(pl.String)
    frame = pl.DataFrame(
        {
            "user": "user-" + users,
            "item": Zipf(20_000, 1.05)(rng.random(rows)).astype(np.int64) * 7919,
            "price": rng.lognormal(2, 1, rows),
            "clicked": rng.integers(0, 2, rows),
            "fold": rng.integers(0, FOLDS, rows),
        }
    )
    user = pl.when(pl.col("user") != "user-3").then("user")
    frame.with_columns(user).write_parquet(path, row_group_size=131_072)


# ---- the work, in a process of its own -----------------------------------------------------------------------
def kerasrec(path, output):
    from kerasrec import etl

    keys = ["user", "item", ["user", "item"]]
    stats = keys >> etl.JoinGroupby(["price"], stats=["count", "mean", "std"]) >> etl.FillMissing()
    encoded = keys >> etl.TargetEncoding("clicked", kfold=FOLDS, p_smooth=SMOOTH, fold="fold")
    yield
    etl.Workflow(stats + encoded).fit_transform(path, progress=False).to_parquet(output, progress=False)
    yield


def polars(path, output):
    import polars as pl

    yield
    raw, x, y = pl.scan_parquet(path), pl.col("price"), pl.col("clicked")
    mean = raw.select(y.mean()).collect(engine="streaming").item()
    frame, new_columns = raw, []
    for key in KEYS:
        name = "_".join(key)
        learned = raw.group_by(key).agg(
            pl.len().alias(f"{name}_count"),
            x.mean().alias(f"{name}_price_mean"),
            x.std().alias(f"{name}_price_std"),
        )
        folds = raw.group_by(*key, "fold").agg(n=pl.len().cast(pl.Int64), sum=y.sum())
        n, total = pl.col("n").sum().over(key) - pl.col("n"), pl.col("sum").sum().over(key) - pl.col("sum")
        smoothed = ((total + SMOOTH * mean) / (n + SMOOTH)).alias(f"TE_{name}_clicked")
        for table, on in ((learned, key), (folds.select(*key, "fold", smoothed), [*key, "fold"])):
            table = table.collect(engine="streaming")
            new_columns += [column for column in table.columns if column not in on]
            frame = frame.join(table.lazy(), on=on, how="left", nulls_equal=True, maintain_order="left")
    output.mkdir()
    frame = frame.select(pl.col(name).fill_null(0).cast(pl.Float32) for name in new_columns)
    frame.sink_parquet(output / "part.parquet", compression="snappy")
    yield


def pandas(path, output):
    import pandas as pd

    yield
    frame = pd.read_parquet(path)
    mean, new_columns = frame["clicked"].mean(), {}
    for key in KEYS:
        name = "_".join(key)
        learned = frame.groupby(key, dropna=False)["price"].agg(["count", "mean", "std"]).reset_index()
        merged = frame[key].merge(learned, on=key, how="left")
        new_columns[f"{name}_count"] = merged["count"]
        new_columns |= {f"{name}_price_{stat}": merged[stat].fillna(0) for stat in ("mean", "std")}
        folds = frame.groupby([*key, "fold"], dropna=False)["clicked"].agg(["count", "sum"]).reset_index()
        all_folds = folds.groupby(key, dropna=False)[["count", "sum"]].transform("sum")
        others = all_folds - folds[["count", "sum"]]
        folds["value"] = (others["sum"] + SMOOTH * mean) / (others["count"] + SMOOTH)
        on = [*key, "fold"]
        new_columns[f"TE_{name}_clicked"] = frame[on].merge(folds[[*on, "value"]], on=on, how="left")["value"]
    output.mkdir()
    pd.DataFrame(new_columns).astype("float32").to_parquet(output / "part.parquet", compression="snappy")
    yield


def worker(system, path, output):
    marks = [(time.perf_counter(), time.process_time()) for _ in globals()[system](path, output)]
    (wall, cpu), (end, used) = marks
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 2**20
    print(json.dumps({"wall_s": end - wall, "cpu_s": used - cpu, "peak_gib": peak}))


# ---- the turns -----------------------------------------------------------------------------------------------
def run(system, path, output):
    command = [sys.executable, __file__, "--worker", system, str(path), str(output)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{system}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(ours, theirs):
    """Raise where two systems' files differ."""
    import numpy as np
    import polars as pl

    a, b = (pl.read_parquet(folder / "*.parquet") for folder in (ours, theirs))
    assert sorted(a.columns) == sorted(b.columns), f"{theirs}: columns {b.columns}, expected {a.columns}"
    for name in a.columns:
        np.testing.assert_allclose(b[name], a[name], 1e-4, 1e-4, err_msg=f"{theirs}: {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker[0], *map(Path, args.worker[1:]))
        return

    from rich.console import Console
    from rich.table import Table

    figures = {system: [] for system in SYSTEMS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "raw.parquet"
        write(path, args.rows)
        for turn in range(args.repeats):
            for system in SYSTEMS:
                figures[system].append(run(system, path, Path(folder) / f"{system}-{turn}"))
                if turn == 0:
                    compare(Path(folder) / "kerasrec-0", Path(folder) / f"{system}-0")
    table = Table("system", "all s", "CPU s", "peak GiB", "x kerasrec", "CPU", title=f"{args.rows:,} rows")
    results = []
    for system, rounds in figures.items():
        middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        for key in ("wall", "cpu"):
            pairs = zip(rounds, figures["kerasrec"], strict=True)
            middle[f"{key}_ratio"] = statistics.median(one[f"{key}_s"] / other[f"{key}_s"] for one, other in pairs)
        results.append({"system": system, **middle})
        table.add_row(system, *(f"{figure:.2f}" for figure in middle.values()))
    Console().print(table)
    print(json.dumps({"benchmark": "etl_joins", "rows": args.rows, "cores": os.cpu_count(), "results": results}))


if __name__ == "__main__":
    main()
