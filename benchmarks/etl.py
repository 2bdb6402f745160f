"""Measure the cost of feature engineering, next to NVTabular and to the same handwritten in Polars.

    python benchmarks/etl.py                # one and ten million rows, three rounds
    python benchmarks/etl.py --rows 100000  # a quick look

Raw rows are shaped like Criteo's (peers/criteo_like.py): 26 columns of hexadecimal strings and 13 of integers,
with nulls. The strings become ids (Categorify); the integers are filled, clipped at 0, put on a logarithmic scale
and normalised. Vocabularies and moments are learned first (fit), then all rows are transformed and written as
Parquet, compressed with snappy (transform). The systems:

- kerasrec: `Workflow.fit(files).transform(files).to_parquet(folder)`.
- polars: the same in a page of Polars expressions, in the streaming engine, into one file.
- polars in memory: the same in Polars' in-memory engine, which holds all rows (select with --systems).
- nvtabular: NVTabular 23.8 on one thread, its default; `sh benchmarks/peers/setup.sh merlin` installs it. It runs
  on the first number of rows only.
- nvtabular, dask: the same on a local Dask cluster of one process per core, as its documentation advises.

Each system runs in a process of its own that times only the work: not its start, its imports or the start of its
cluster. Systems take turns in each of `--repeats` rounds; reported are medians of ratios within a round. CPU time
is that of all threads of the process, or of a cluster's processes: on a machine that others use as well, compare
that (NVTabular's one thread then looks as good as two). Memory is peak resident memory (VmHWM), imports included.

All systems must write the same: kerasrec and polars equal ids and equal numbers (1e-5), NVTabular the same numbers
and ids with equal frequencies (it orders ties differently). Otherwise the run ends with an error.

The bars are on wall-clock time and resident memory: NVTabular takes at least 15 times as long; kerasrec takes at
most 1.25 times as long as handwritten Polars; a row of many costs no more than a row of few; and many rows take at
most MEMORY (mostly vocabularies, which grow with the rows here). The last line is JSON:
{"bars": {name: {bar, figure, holds, ...}}, "results": [...], ...}; the run fails if a bar does not hold.
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers import criteo_like
from peers.criteo_like import INTEGERS, STRINGS

HERE = Path(__file__).resolve().parent
MERLIN = HERE / "peers" / ".venv-merlin" / "bin" / "python"
MEMORY = 2.0  # GiB, with ten million rows, which hold 5 GiB when read
SYSTEMS = ("kerasrec", "polars", "polars in memory", "nvtabular", "nvtabular, dask")


# ---- the work, in a process of its own -----------------------------------------------------------------------
def kerasrec(files, output):
    from kerasrec import etl

    integers = INTEGERS >> etl.FillMissing() >> etl.Clip(min=0) >> etl.LogOp() >> etl.Normalize()
    workflow = etl.Workflow((STRINGS >> etl.Categorify()) + integers + (["label"] >> etl.Target()))
    yield
    workflow.fit(files, progress=False)
    yield
    workflow.transform(files).to_parquet(output, progress=False)
    yield


def by_hand(files, output, engine):
    import polars as pl

    yield
    raw = pl.scan_parquet(files)
    logs = [pl.col(name).fill_null(0).clip(0).cast(pl.Float64).log1p() for name in INTEGERS]
    counts = [
        raw.select(name).group_by(name).len().sort("len", name, descending=[True, False]) for name in STRINGS
    ]
    means = raw.select([x.mean() for x in logs])
    deviations = raw.select([x.std(ddof=0) for x in logs])
    *words, means, deviations = pl.collect_all([*counts, means, deviations], engine=engine)
    yield
    columns = [pl.col("label").cast(pl.Float32)]
    for name, frame in zip(STRINGS, words, strict=True):
        position = pl.col(name).cast(pl.Enum(frame[name].drop_nulls())).to_physical().cast(pl.Int32)
        columns.append((position + 3).fill_null(1))
    for name, x in zip(INTEGERS, logs, strict=True):
        columns.append(((x - means[name].item()) / deviations[name].item()).cast(pl.Float32).alias(name))
    output.mkdir()
    frame = raw.select(columns)
    if engine == "streaming":
        frame.sink_parquet(output / "part.parquet", compression="snappy")
    else:
        frame.collect().write_parquet(output / "part.parquet", compression="snappy")
    yield


def worker(system, folder, output):
    """Runs one system; prints one line of JSON."""
    import polars as pl

    files = sorted(folder.glob("*.parquet"))
    engine = "in-memory" if "memory" in system else "streaming"
    pl.scan_parquet(files).select(pl.len()).collect(engine=engine)  # starts its threads
    work = kerasrec(files, output / "out") if system == "kerasrec" else by_hand(files, output / "out", engine)
    marks = [(time.perf_counter(), time.process_time()) for _ in work]
    wall, cpu = ([b[i] - a[i] for a, b in itertools.pairwise(marks)] for i in range(2))
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 2**20
    print(json.dumps({"fit_s": wall[0], "transform_s": wall[1], "cpu_s": sum(cpu), "peak_gib": peak}))


# ---- the turns -----------------------------------------------------------------------------------------------
def run(system, folder, output):
    """One system's figures."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    if system.startswith("nvtabular"):
        processes = [str(os.cpu_count())] if "dask" in system else []
        command = [str(MERLIN), str(HERE / "peers" / "nvtabular_etl.py"), str(folder), str(output), *processes]
    else:
        command = [sys.executable, __file__, "--worker", system, str(folder), str(output)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{system}: {done.stderr[-3000:]}")
    figures = json.loads(done.stdout.splitlines()[-1])
    return {"system": system, **figures, "wall_s": figures["fit_s"] + figures["transform_s"]}


def compare(output, reference):
    """Raise where two systems' files differ."""
    import numpy as np
    import polars as pl

    ours, theirs = (pl.scan_parquet(folder / "out" / "*.parquet") for folder in (reference, output))
    for name in ("label", *INTEGERS, *STRINGS):
        a, b = ours.select(name).collect().to_series(), theirs.select(name).collect().to_series()
        assert len(a) == len(b), f"{output}: {len(b):,} rows, expected {len(a):,}"
        if name in STRINGS and "nvtabular" in output.name:
            # One to one, and as frequent: of equally frequent values either may come first.
            pairs = pl.DataFrame({"a": a, "b": b}).group_by("a", "b").len().sort("a")
            assert pairs["a"].n_unique() == pairs["b"].n_unique() == len(pairs), (
                f"{output}: {name} is not one to one"
            )
            counts = [pairs.sort(by).filter(pl.col(by) > 2)["len"] for by in ("a", "b")]
            assert counts[0].equals(counts[1]), f"{output}: {name} is ordered by something else than counts"
        elif name in STRINGS:
            assert a.equals(b.cast(a.dtype)), f"{output}: other ids in {name}"
        else:
            np.testing.assert_allclose(b.cast(pl.Float32), a, 1e-4, 1e-5, err_msg=f"{output}: {name}")


def measure(rows, args, folder):
    """The rounds at one size: for each system its figures, one dict a round."""
    raw = folder / f"raw-{rows}"
    criteo_like.write(raw, rows, max(1, rows // 250_000))
    systems = [system for system in args.systems if rows == args.rows[0] or not system.startswith("nvtabular")]
    figures = {system: [] for system in systems}
    for turn in range(args.repeats):
        for system in systems:
            output = folder / system.replace(" ", "-")
            figures[system].append(run(system, raw, output))
            if turn == 0 and system != "kerasrec":
                compare(output, folder / "kerasrec")
    shutil.rmtree(raw)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where files are written for the time of the run")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker[0], *map(Path, args.worker[1:]))
        return

    from rich.console import Console
    from rich.table import Table

    args.systems = ["kerasrec", *(system for system in SYSTEMS if system in args.systems and system != "kerasrec")]
    if not MERLIN.exists():
        print(f"left out: NVTabular; sh {HERE / 'peers' / 'setup.sh'} merlin installs it", file=sys.stderr)
        args.systems = [system for system in args.systems if not system.startswith("nvtabular")]
    results = []
    titles = ("rows", "system", "fit s", "transform s", "all s", "CPU s", "peak GiB", "x kerasrec", "CPU")
    table = Table(*titles, title=f"fit, transform and write; {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        measured = {rows: measure(rows, args, Path(folder)) for rows in args.rows}
    for rows, figures in measured.items():
        for system, rounds in figures.items():
            middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0] if key != "system"}
            ratios = {key: ratio(rounds, figures["kerasrec"], key) for key in ("wall_s", "cpu_s")}
            middle |= {
                "rows": rows,
                "system": system,
                "wall_ratio": ratios["wall_s"],
                "cpu_ratio": ratios["cpu_s"],
            }
            results.append(middle)
            times = [middle[key] for key in ("fit_s", "transform_s", "wall_s", "cpu_s", "peak_gib")]
            cells = [f"{figure:.2f}" for figure in (*times, *ratios.values())]
            table.add_row(f"{rows:,}", system, *cells)
    bars = judged(measured, args.rows)
    console = Console(width=max(120, Console().width))
    console.print(table)
    for name, found in bars.items():
        cpu = f", of CPU time {found['cpu']:.2f}" if "cpu" in found else ""
        console.print(
            f"{'holds ' if found['holds'] else 'MISSED'} {name} {found['bar']}: {found['figure']:.2f}{cpu}"
        )
    print(json.dumps({"benchmark": "etl", "cores": os.cpu_count(), "bars": bars, "results": results}))
    if not all(found["holds"] for found in bars.values()):
        raise SystemExit("a bar was missed")


def judged(measured, rows):
    """The bars for which there are figures."""
    few, many = rows[0], rows[-1]
    first, ours, bars = measured[few], measured[many]["kerasrec"], {}

    def bar(name, limit, figure, cpu=None, least=False):
        holds = figure >= limit if least else figure <= limit
        bars[name] = {"bar": limit, "figure": figure, "holds": holds} | ({} if cpu is None else {"cpu": cpu})

    if "nvtabular" in first:
        bar("NVTabular over kerasrec, at least", 15, *both(first["nvtabular"], first["kerasrec"]), least=True)
    for some, figures in measured.items():
        if "polars" in figures:
            name = f"kerasrec over Polars by hand, {some:,} rows, at most"
            bar(name, 1.25, *both(figures["kerasrec"], figures["polars"]))
    if many > few:
        growth = [figure * few / many for figure in both(ours, first["kerasrec"])]
        bar(f"a row of {many:,} over one of {few:,}, at most", 1.0, *growth)
        bar(f"GiB with {many:,} rows, at most", MEMORY, max(one["peak_gib"] for one in ours))
    return bars


def ratio(rounds, others, key):
    return statistics.median(one[key] / other[key] for one, other in zip(rounds, others, strict=True))


def both(rounds, others):
    """The ratios of wall-clock and of CPU time."""
    return ratio(rounds, others, "wall_s"), ratio(rounds, others, "cpu_s")


if __name__ == "__main__":
    main()
