"""Measure the cost of checksums and flushing: CPU time with and without them, in turns, as ratios within a run.

python benchmarks/safety.py --out docs/figures/safety.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import kerasrec as kr
from kerasrec import etl
from kerasrec.etl.sources import parquet_files
from kerasrec.files import aside


def write_raw(folder: Path, rows: int) -> tuple[Path, float]:
    """A raw log with checksums of pages, and by what part it is longer than without."""
    rng = np.random.default_rng(0)
    ids = {f"id{i}": [f"{id:08x}" for id in rng.zipf(1.3, rows) % (1000 * (i + 1))] for i in range(6)}
    numbers = {f"x{i}": np.where(rng.random(rows) < 0.1, np.nan, rng.exponential(50, rows)) for i in range(6)}
    table = pa.table(ids | numbers | {"clicked": rng.integers(0, 2, rows)})
    sizes = []
    for name, checksums in (("without", False), ("with", True)):
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=131_072, write_page_checksum=checksums)
        sizes.append((folder / f"{name}.parquet").stat().st_size)
    return folder / "with.parquet", sizes[1] / sizes[0] - 1


def make_workflow() -> etl.Workflow:
    ids = [f"id{i}" for i in range(6)] >> etl.Categorify()
    numbers = [f"x{i}" for i in range(6)] >> etl.FillMissing() >> etl.LogOp() >> etl.Normalize()
    return etl.Workflow(ids + numbers + (["clicked"] >> etl.Target()))


def compared(run: Callable[[bool], Any], repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds with and without, and the median of the ratios of runs that follow each other."""
    results: dict[bool, list[float]] = {True: [], False: []}
    for repeat in range(repeats):
        for on in (True, False) if repeat % 2 else (False, True):
            parquet_files._check.cache_clear()  # which pages were compared already
            start = clock()
            run(on)
            results[on].append(clock() - start)
    ratios = [a / b for a, b in zip(results[True], results[False], strict=True)]
    seconds = {name: round(statistics.median(results[on]), 3) for name, on in (("with", True), ("without", False))}
    return {**seconds, "ratio": round(statistics.median(ratios), 3)}


@contextmanager
def flushing(on: bool) -> Iterator[None]:
    real = aside.flush_tree, aside.flush_folder
    if not on:
        aside.flush_tree = aside.flush_folder = lambda path: None  # type: ignore[assignment]
    yield
    aside.flush_tree, aside.flush_folder = real


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        raw, longer = write_raw(folder, args.rows)
        workflow = make_workflow().fit(raw, progress=False)

        def write(verify: bool) -> None:
            workflow.transform(raw, verify=verify).to_parquet(folder / "out", overwrite=True, progress=False)

        def write_flushed(flush: bool) -> None:
            with flushing(flush):
                write(True)

        def passes(loader: kr.Loader) -> None:
            for _ in loader._stream.batches():
                pass

        data = workflow.transform(raw).to_parquet(folder / "data", progress=False)
        loaders = {on: kr.Loader(data, 65_536, shuffle=True, verify=on) for on in (True, False)}
        for loader in loaders.values():
            passes(loader)
        cpu = time.process_time
        results = {
            "rows": args.rows,
            "bytes_more": round(longer, 5),
            "fit": compared(lambda on: make_workflow().fit(raw, verify=on, progress=False), args.repeats, cpu),
            "to_parquet": compared(write, args.repeats, cpu),
            "loader, first pass": compared(
                lambda on: passes(kr.Loader(data, 65_536, shuffle=True, verify=on)), args.repeats, cpu
            ),
            "loader, later passes": compared(lambda on: passes(loaders[on]), args.repeats, cpu),
            "flushing to_parquet, wall time": compared(write_flushed, args.repeats, time.perf_counter),
            "megabytes written": round(sum(file.stat().st_size for file in data.iterdir()) / 1e6, 1),
        }
    text = json.dumps(results, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
