"""Fitting and writing on a Dask cluster: parts of the files go to the workers, small statistics come back.

A part is up to `PART_ROWS` rows of one file (of CSV, a file), whatever the cluster looks like, and statistics are
merged in a tree of a set shape; so what is learned does not depend on the number of workers (but for the last bits
of sums of floats, which Polars' threads add up in any order, on one machine as well).
"""

from __future__ import annotations

import platform
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.run import fit as engine
from kerasrec.etl.sources import polars_engine
from kerasrec.etl.sources.raw_columns import FileColumns
from kerasrec.etl.sources.source import Source

if TYPE_CHECKING:
    from kerasrec.etl.dataset import Dataset

PART_ROWS = 1 << 20
FAN_IN = 8  # parts that are merged at a time

Statistics = list[list[pl.DataFrame]]


def shared(source: Source, client: Any) -> Source:
    """The source as any worker of `client` can open it.

    Raises:
        TypeError: a source that is not files, or a client that is none of `distributed.Client`'s.
        RuntimeError: no workers, one that runs another release of Polars, Python or kerasrec, or has no GPU for
            `engine="gpu"`.
    """
    from distributed import Client

    if not isinstance(client, Client) or client.asynchronous:
        raise TypeError(f"client must be a distributed.Client that is not asynchronous, not {client!r}")
    if not isinstance(source.columns, FileColumns):
        raise TypeError(
            f"{source.name} is in this process alone: with client= the rows must be in files that all workers "
            "see; write them to Parquet in a shared folder and pass that"
        )
    own, others = _releases(), client.run(_releases)
    if not others:
        raise RuntimeError(f"{client!r} has no workers")
    for worker, theirs in others.items():
        if theirs != own:
            raise RuntimeError(f"worker {worker} runs {theirs}, but this process {own}: install the same on both")
    if source.engine != "cpu":
        client.run(polars_engine.check, source.engine)
    files = [(path.absolute(), rows) for path, rows in source.files]
    versions = [replace(version, inode=None) for version in source.versions]  # those are each machine's own
    return replace(source, files=files, versions=versions, columns=source.columns.absolute())


def gatherer(client: Any) -> Callable[[Source, Sequence[str], Sequence[engine.Job]], Statistics]:
    """`engine.gather` on a cluster, for sources that are `shared`."""

    def gather(source: Source, names: Sequence[str], jobs: Sequence[engine.Job]) -> Statistics:
        apart = [job for job in jobs if not job.whole]
        found = []
        if apart:
            # A task of its own, so each worker is sent the operators once, and again should all who have them die.
            todo = _submit(client, "operators", _same, apart)
            found = [_submit(client, "part", _statistics, part, names, todo) for part in source.parts(PART_ROWS)]
            while len(found) > 1:
                some = [found[first : first + FAN_IN] for first in range(0, len(found), FAN_IN)]
                found = [_submit(client, "merge", _merged, todo, few) for few in some]
        # What cannot be merged is learned from all rows by one worker.
        alone = [job for job in jobs if job.whole]
        found += [_submit(client, "whole", _statistics, source, names, [job]) for job in alone]
        results = iter([statistics for several in client.gather(found) for statistics in several])
        by_job = {id(job): next(results) for job in [*apart, *alone]}
        return [by_job[id(job)] for job in jobs]

    return gather


def write(
    dataset: Dataset, client: Any, folder: Path, rows: int, per_file: int, step: Callable[[int], None]
) -> None:
    """Write a dataset's files into `folder`, which all workers see. A file holds up to `per_file` rows of one raw
    file, and file names are in the rows' order.

    Each attempt at a part writes into a folder of its own, so a worker that was given up for dead, and is not,
    changes nothing that counts.
    """
    from distributed import as_completed, wait

    dataset = replace(dataset, source=shared(dataset.source, client))
    work = folder / "work"
    work.mkdir()
    # A task of its own, as in `gatherer`.
    todo = _submit(client, "dataset", _same, replace(dataset, source=None))  # type: ignore[arg-type]
    pieces = [part.source for part in dataset.parts(per_file)]
    tasks = [_submit(client, "write", _written, todo, str(work), piece, rows, per_file) for piece in pieces]
    try:
        for task in as_completed(tasks):
            step(task.result()[1])
    except BaseException:
        (work / "stop").touch()  # so that nobody writes any more when the folder is removed
        with suppress(Exception):
            wait(tasks, timeout=60)
        raise
    done = client.gather(tasks)
    filled = [attempt for attempt, count in done if count] or [done[0][0]]
    files = [file for attempt in filled for file in sorted((work / attempt).iterdir())]
    for number, file in enumerate(files):
        file.rename(folder / f"part-{number:05d}.parquet")
    shutil.rmtree(work)


def _submit(client: Any, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    return client.submit(function, *arguments, key=f"kerasrec-{name}-{uuid.uuid4().hex}", pure=False)


# ---- on a worker ---------------------------------------------------------------------------------------------
def _releases() -> dict[str, str]:
    import kerasrec

    python, _, _ = platform.python_version().rpartition(".")
    return {"kerasrec": kerasrec.__version__, "polars": pl.__version__, "python": python}


def _same(todo: Any) -> Any:
    return todo


def _statistics(part: Source, names: Sequence[str], jobs: Sequence[engine.Job]) -> Statistics:
    try:
        return engine.gather(part, names, jobs)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"on a worker: {error}; all workers must see the files") from None


def _merged(jobs: Sequence[engine.Job], some: Sequence[Statistics]) -> Statistics:
    return [job.op.merge(statistics) for job, statistics in zip(jobs, zip(*some, strict=True), strict=True)]


def _written(dataset: Dataset, work: str, part: Source, rows: int, per_file: int) -> tuple[str, int]:
    """Returns the name of the folder in `work` that was written to, and how many rows."""
    attempt = Path(work) / uuid.uuid4().hex

    def check(done: int) -> None:
        if (Path(work) / "stop").exists():
            raise RuntimeError("another part failed")

    check(0)
    attempt.mkdir()
    return attempt.name, replace(dataset, source=part).write_files(attempt, rows, per_file, check)
