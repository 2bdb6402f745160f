"""Computes the statistics that operators learn from, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import polars as pl

from kerasrec.etl.operator.operator import Operator
from kerasrec.etl.run.column_expr import ColumnExpr, columns_named, select
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import ROW
from kerasrec.schema import Column

BATCH_ROWS = 262_144

SelectRaw = Callable[[Sequence[str]], pl.LazyFrame]  # returns a frame of raw columns, with the rows' numbers


@dataclass(frozen=True, eq=False)
class Job:
    """An operator to fit on some columns."""

    op: Operator
    values: list[ColumnExpr]

    @property
    def columns(self) -> list[Column]:
        return [value.column for value in self.values]

    @property
    def needs_all_rows(self) -> bool:
        """Whether statistics of parts of the data cannot be merged."""
        numbers_made_rows = self.op.needs_row_numbers and self.values[0].rows.maker is not None
        return self.op.windowed or numbers_made_rows or any(value.needs_all_rows for value in self.values)

    def queries(self, raw: SelectRaw) -> list[pl.LazyFrame]:
        """Return the operator's queries over some of the source's rows; over all, if it `needs_all_rows`."""
        by_name = {value.column.name: value for value in self.values}

        def select_columns(names: Sequence[str]) -> pl.LazyFrame:
            values = [by_name[name] for name in names]
            return select(raw(sorted(columns_named(values))), values, row_numbers=self.op.needs_row_numbers)

        return self.op.queries(select_columns, self.columns)


# Returns the statistics of each job over a source, whose raw columns of those names the jobs read.
Gather = Callable[[Source, Sequence[str], Sequence[Job]], list[list[pl.DataFrame]]]


def gather(source: Source, names: Sequence[str], jobs: Sequence[Job]) -> list[list[pl.DataFrame]]:
    """Return the statistics of each job over the source, whose raw columns `names` the jobs read.

    If columns can be read separately, and for jobs that need all rows at once, each query runs by itself and reads
    only its columns. Otherwise (CSV, an unknown lazy frame) the rows are read once, in batches whose statistics
    are merged. Both bound the memory; one `collect_all` of all queries does not, as it holds the rows that queries
    share until the slowest has read them. A GPU gets each query by itself, as Polars has batches only on the CPU.
    """
    with source.explain_errors():
        source.check(names)
        separate = [job for job in jobs if source.columnar or job.needs_all_rows or source.engine == "gpu"]
        queries = [job.queries(lambda columns: source.lazy(columns or names)) for job in separate]
        # A query ends with work for one core, such as a merge: meanwhile a second query has the others.
        with ThreadPoolExecutor(1 if source.engine == "gpu" else 2) as threads:
            frames = threads.map(source.collect, chain.from_iterable(queries))
            separate_results = iter([[next(frames) for _ in job_queries] for job_queries in queries])
        batched = [_Merging(job) for job in jobs if job not in separate]
        if batched:
            _pass_batches(source.lazy().select(*names, ROW), batched)
        batched_results = iter([merging.merged() for merging in batched])
        return [next(separate_results) if job in separate else next(batched_results) for job in jobs]


def _pass_batches(frame: pl.LazyFrame, jobs: Sequence[_Merging]) -> None:
    """Add the statistics of each batch of `frame`."""

    def add(batch: pl.DataFrame) -> None:
        queries = [merging.job.queries(lambda names: batch.select(*names, ROW).lazy()) for merging in jobs]
        results = iter(pl.collect_all([query for job_queries in queries for query in job_queries]))
        for merging, job_queries in zip(jobs, queries, strict=True):
            merging.add([next(results) for _ in job_queries])

    add(frame.head(0).collect())
    frame.sink_batches(add, chunk_size=BATCH_ROWS, maintain_order=False, engine="streaming")


class _Merging:
    """The statistics of one job, merged whenever their size has doubled."""

    def __init__(self, job: Job):
        self.job = job
        self.parts: list[list[pl.DataFrame]] = []
        self.limit = BATCH_ROWS

    def add(self, statistics: list[pl.DataFrame]) -> None:
        self.parts.append(statistics)
        if sum(len(frame) for part in self.parts for frame in part) > self.limit:
            self.limit = 2 * max(BATCH_ROWS, sum(map(len, self.merged())))

    def merged(self) -> list[pl.DataFrame]:
        self.parts = [self.job.op.merge(self.parts)]
        return self.parts[0]
