"""Fits and writes on a Dask cluster: workers read parts of the files and return small statistics.

A part is up to `PART_ROWS` rows of one file (a CSV file is one part), and statistics are merged in a tree of fixed
shape. So the result does not depend on the number of workers, except for the last bits of sums of floats: Polars'
threads add them up in any order, on one machine as well.
"""

from __future__ import annotations

import platform
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from kerasrec._version import __version__
from kerasrec.etl.run.gather import Gather, Job, gather
from kerasrec.etl.sources import polars_engine
from kerasrec.etl.sources.raw_columns import FileColumns
from kerasrec.etl.sources.source import Source

PART_ROWS = 1 << 20
FAN_IN = 8  # statistics that one task merges

Statistics = list[list[pl.DataFrame]]
# Writes a part of the rows into a folder, calls its last argument with each number of rows; returns their number.
WritePart = Callable[[Source, Path, Callable[[int], None]], int]
T = TypeVar("T")


def shared(source: Source, client: Any) -> Source:
    """Return the source in a form that every worker of `client` can open.

    Raises:
        TypeError: the source is not files, or `client` is not a synchronous `distributed.Client`.
        RuntimeError: there are no workers, or one runs another release of Polars, Python or kerasrec, or has no
            GPU for `engine="gpu"`.
    """
    from distributed import Client

    if not isinstance(client, Client) or client.asynchronous:
        raise TypeError(f"client must be a synchronous distributed.Client; got {client!r}")
    if not isinstance(source.columns, FileColumns):
        raise TypeError(
            f"{source.name} is in this process only; with client= the source must be files that all workers see: "
            "write it to Parquet in a shared folder and pass that"
        )
    own, others = _releases(), client.run(_releases)
    if not others:
        raise RuntimeError(f"{client!r} has no workers; start some with: dask worker SCHEDULER")
    for worker, releases in others.items():
        if releases != own:
            raise RuntimeError(f"worker {worker} runs {releases}, but this process {own}; install the same")
    if source.engine != "cpu":
        client.run(polars_engine.check, source.engine)
    files = [(path.absolute(), rows) for path, rows in source.files]
    versions = [replace(version, inode=None) for version in source.versions]  # inodes differ between machines
    return replace(source, files=files, versions=versions, columns=source.columns.absolute())


def gather_on(client: Any) -> Gather:
    """Return `gather` on a cluster, for sources that are `shared`."""

    def gather_parts(source: Source, names: Sequence[str], jobs: Sequence[Job]) -> Statistics:
        apart = [job for job in jobs if not job.needs_all_rows]
        tasks = []
        if apart:
            operators = _share(client, "operators", apart)
            parts = source.parts(PART_ROWS)
            tasks = [_submit(client, "part", _statistics, part, names, operators) for part in parts]
            while len(tasks) > 1:
                groups = [tasks[first : first + FAN_IN] for first in range(0, len(tasks), FAN_IN)]
                tasks = [_submit(client, "merge", _merged, operators, group) for group in groups]
        # One worker computes from all rows what cannot be merged.
        alone = [job for job in jobs if job.needs_all_rows]
        tasks += [_submit(client, "all rows", _statistics, source, names, [job]) for job in alone]
        results = iter([statistics for several in client.gather(tasks) for statistics in several])
        by_job = {id(job): next(results) for job in [*apart, *alone]}
        return [by_job[id(job)] for job in jobs]

    return gather_parts


def write(
    parts: Sequence[Source], write_part: WritePart, client: Any, folder: Path, advance: Callable[[int], None]
) -> None:
    """Write parts of the rows, in their order, as `part-00000.parquet`, ... into `folder`, which all workers see.

    Each attempt at a part writes into its own folder, so a worker that was declared dead but still runs changes
    nothing.
    """
    from distributed import as_completed, wait

    work = folder / "work"
    work.mkdir()
    shared_write_part = _share(client, "dataset", write_part)
    tasks = [_submit(client, "write", _write, shared_write_part, str(work), part) for part in parts]
    try:
        for task in as_completed(tasks):
            advance(task.result()[1])
    except BaseException:
        (work / "stop").touch()  # no attempt may write any more when the folder is removed
        with suppress(Exception):
            wait(tasks, timeout=60)
        raise
    attempts = client.gather(tasks)
    with_rows = [attempt for attempt, count in attempts if count] or [attempts[0][0]]
    files = [file for attempt in with_rows for file in sorted((work / attempt).iterdir())]
    for number, file in enumerate(files):
        file.rename(folder / f"part-{number:05d}.parquet")
    shutil.rmtree(work)


def _submit(client: Any, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    return client.submit(function, *arguments, key=f"kerasrec-{name}-{uuid.uuid4().hex}", pure=False)


def _share(client: Any, name: str, value: Any) -> Any:
    """Return a task that yields `value`: each worker is sent it once, and again should all that have it die."""
    return _submit(client, name, _identity, value)


# ---- on a worker ---------------------------------------------------------------------------------------------
def _releases() -> dict[str, str]:
    python, _, _ = platform.python_version().rpartition(".")
    return {"kerasrec": __version__, "polars": pl.__version__, "python": python}


def _identity(value: T) -> T:
    return value


def _statistics(part: Source, names: Sequence[str], jobs: Sequence[Job]) -> Statistics:
    try:
        return gather(part, names, jobs)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"on a worker: {error}; all workers must see the files") from None


def _merged(jobs: Sequence[Job], parts: Sequence[Statistics]) -> Statistics:
    return [job.op.merge(statistics) for job, statistics in zip(jobs, zip(*parts, strict=True), strict=True)]


def _write(write_part: WritePart, work: str, part: Source) -> tuple[str, int]:
    """Write a part into a new folder in `work`; return the folder's name and the number of rows."""
    attempt = Path(work) / uuid.uuid4().hex

    def check(rows: int) -> None:
        if (Path(work) / "stop").exists():
            raise RuntimeError("another part failed")

    check(0)
    attempt.mkdir()
    return attempt.name, write_part(part, attempt, check)
