"""Transformed rows: not computed until they are collected or written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.etl.run import dask_cluster
from kerasrec.etl.run.column_expr import Value, reads, select
from kerasrec.etl.run.column_stats import nulls
from kerasrec.etl.run.progress import bar
from kerasrec.etl.sources import polars_engine
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import ROW, column_type
from kerasrec.files import write_aside
from kerasrec.parquet.footers import seal
from kerasrec.schema import FILENAME, Schema, SchemaError, Tag

ROW_GROUP_ROWS = 131_072
ROWS_PER_FILE = 32 * ROW_GROUP_ROWS
FILES = ("part-*.parquet", FILENAME)  # what to_parquet writes
PART_ROWS = 2 * ROW_GROUP_ROWS  # raw rows that are in memory at a time; Polars left alone reads many files at once


@dataclass(frozen=True, repr=False)
class Dataset:
    """What `Workflow.transform` returns: rows as a model takes them, described by `schema`.

    Attributes:
        schema: the columns.
        origin: of rows and a column that is null in one, words for the operator that made the null, if one did.
    """

    schema: Schema
    values: list[Value]
    source: Source
    origin: Callable[[Source, str], str | None]

    def __repr__(self) -> str:
        return f"Dataset from {self.source.name}, not computed yet\n{self.schema!r}"

    def lazy(self) -> pl.LazyFrame:
        """The rows as a lazy Polars frame; nobody has checked them for nulls."""
        return self._lazy()

    def _lazy(self, *, numbered: bool = False) -> pl.LazyFrame:
        values = [
            replace(value, column=column, expr=value.expr.cast(column_type(column)))
            for column, value in zip(self.schema, self.values, strict=True)
        ]
        return select(self.source.lazy(), values, numbered=numbered)

    def collect(self) -> pl.DataFrame:
        """All rows in memory.

        Raises:
            SchemaError: a column holds nulls, or a binary target another value than 0 and 1; the message names the
                column and the row.
        """
        with self.source.telling():
            self.source.check(reads(self.values))
            frame = self.source.collect(self.lazy())
        self._check(frame, 0)
        return frame

    def to_parquet(
        self,
        folder: str | os.PathLike[str],
        *,
        row_group_rows: int | None = None,
        rows_per_file: int | None = None,
        overwrite: bool = False,
        client: Any = None,
        progress: bool = True,
    ) -> Path:
        """Write `part-00000.parquet`, `part-00001.parquet`, ... and `schema.json` into a new folder.

        Rows keep their order and pass in parts of 262,144 of a file; docs/etl.md says what memory that takes. The
        folder takes its name only when all of it is written; whatever goes wrong before, nothing stands there.

        Args:
            folder: its name.
            row_group_rows: rows in a row group (a file's last may be shorter); by default 131,072, or a file's.
            rows_per_file: rows in a file; by default 32 row groups.
            overwrite: whether a folder of that name is replaced. One that holds other files than these never is.
            client: a `distributed.Client`, on whose cluster the rows are read and written; all workers must see
                the source's files and `folder`, under the same paths. The rows and their order are the same, but a
                file then holds rows of one raw file only.
            progress: whether a terminal shows a progress bar.

        Returns:
            The folder's path.

        Raises:
            FileExistsError: `folder` exists and `overwrite` is false, or it holds other files.
            SchemaError: as `collect` does; or a source that cannot be read.
            TypeError: a source that is not files, with `client`.
        """
        rows = row_group_rows or min(ROW_GROUP_ROWS, rows_per_file or ROWS_PER_FILE)
        per_file = rows_per_file or 32 * rows
        if rows < 1 or per_file < 1:
            raise ValueError(f"row_group_rows ({rows}) and rows_per_file ({per_file}) must be at least 1")
        folder = Path(folder)
        with (
            write_aside(folder, overwrite=overwrite, files=FILES) as aside,
            bar("transform", self._rows(), "rows", show=progress) as advance,
        ):
            aside.mkdir()
            with naming(folder):
                if client is None:
                    self.write_files(aside, rows, per_file, advance)
                else:
                    dask_cluster.write(self, client, aside, rows, per_file, advance)
            self.schema.save(aside)
        return folder

    def write_files(
        self, folder: Path, rows: int, per_file: int, advance: Callable[[int], None], prefix: str = "part-"
    ) -> int:
        """Write `prefix00000.parquet`, ... into a folder that stands, no schema; returns the number of rows.

        Args:
            rows, per_file: rows in a row group, and in a file.
            advance: called with each number of rows written.
        """
        with (
            _Parts(folder, rows, per_file, prefix) as parts,
            self.source.telling(),
            ThreadPoolExecutor(1) as thread,  # writes some rows while the next ones are computed
        ):
            writing: Future[None] | None = None

            def write(frame: pl.DataFrame) -> None:
                self._check(frame, parts.rows)
                parts.write(frame)
                advance(len(frame))

            def take(frame: pl.DataFrame) -> None:
                nonlocal writing
                if writing is not None:
                    writing.result()
                writing = thread.submit(write, frame)

            for part in self.parts(PART_ROWS):
                part.source.check(reads(self.values))
                polars_engine.batches(part.lazy(), self.source.engine, take, rows, few=part._has_few(PART_ROWS))
            if writing is not None:
                writing.result()
            if not parts.rows:
                parts.write(pl.DataFrame(schema=[(c.name, column_type(c)) for c in self.schema]))
            parts.flush()
            return parts.rows

    def parts(self, rows: int) -> list[Dataset]:
        """The same rows as several datasets, each of at most so many raw rows of one file (of CSV, of a file); one
        where no part can be computed apart."""
        if any(value.whole for value in self.values):
            return [self]
        return [replace(self, source=source) for source in self.source.parts(rows)]

    def _has_few(self, rows: int) -> bool:
        """Whether at most so many rows are known to come out; how many an operator makes is not known."""
        return self.source.rows is not None and self.source.rows <= rows and self.values[0].rows.maker is None

    def _check(self, frame: pl.DataFrame, start: int) -> None:
        """Raise `SchemaError` where `frame`, whose first row is row `start`, is not what the schema says."""
        wrong = {c.name: nulls(pl.col(c.name), c) for c in self.schema}
        for column in self.schema.select(Tag.BINARY):
            x = pl.col(column.name)
            wrong[column.name] += (~x.is_in([0.0, 1.0])).sum()
        counts = frame.select(expr.alias(name) for name, expr in wrong.items()).row(0, named=True)
        for name, count in counts.items():
            if not count:
                continue
            column, values = self.schema[name], frame[name]
            is_null = values.is_null()
            if column.is_list:
                is_null = values.list.eval(pl.element().is_null()).list.any()
            if is_null.any():
                row = int(is_null.arg_true()[0])
                maker = self.origin(self.source, name)
                reason = f": {maker}" if maker else "; add FillMissing or DropNA"
                raise SchemaError(
                    f"{self._place(start + row)}: column {name!r} is null after its operators "
                    f"(one of {count:,} here){reason}"
                )
            row = int((~values.is_in([0.0, 1.0])).arg_true()[0])
            place = self._place(start + row)
            raise SchemaError(f"{place}: target {name!r} is {values[row]}, but it held only 0 and 1 when fitted")

    def _rows(self) -> int | None:
        """How many rows there are, where that is known without reading them."""
        rows = self.values[0].rows
        return None if rows.ops or self.source.keep else self.source.rows

    def _place(self, row: int) -> str:
        """Words for where the row that came out as number `row` stands."""
        rows = self.values[0].rows
        dropped = bool(rows.masks or self.source.keep)
        if dropped:  # its number before that
            with self.source.telling():
                row = self._lazy(numbered=True).select(ROW).slice(row, 1).collect(engine="streaming").item()
        if rows.maker is not None:
            return f"{self.source.name}: row {row} of those that {rows.maker!r} makes"
        return self.source.locate(row if dropped else self.source.start + row)


def _without_nulls(table: pa.Table) -> pa.Table:
    """The same columns, said to hold no nulls. Parquet then keeps no levels, and is decoded in two thirds to nine
    tenths of the time."""

    def required(field: pa.Field) -> pa.Field:
        if pa.types.is_large_list(field.type):
            field = field.with_type(pa.large_list(required(field.type.value_field)))
        return field.with_nullable(False)

    return table.cast(pa.schema(map(required, table.schema)))


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """A failure to write is told with the final name, not that of the place aside."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot write {folder}: {error}") from error


class _Parts:
    """Parquet files in a folder, of a set number of rows in row groups of a set number of rows."""

    def __init__(self, folder: Path, row_group_rows: int, rows_per_file: int, prefix: str):
        self.folder, self.row_group_rows, self.rows_per_file = folder, row_group_rows, rows_per_file
        self.prefix = prefix
        self.rows = 0  # taken, of which the last ones wait for their row group to fill
        self._waiting: pl.DataFrame | None = None
        self._written = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, frame: pl.DataFrame) -> None:
        self.rows += len(frame)
        frame = frame if self._waiting is None else pl.concat([self._waiting, frame])
        while len(frame) >= (size := min(self.row_group_rows, self.rows_per_file - self._in_file)):
            self._write(frame.head(size))
            frame = frame.slice(size)
        self._waiting = frame

    def flush(self) -> None:
        """Write what waits; an empty dataset becomes a file without rows."""
        if self._waiting is not None and (len(self._waiting) or not self._written):
            self._write(self._waiting)
            self._waiting = None

    @property
    def _in_file(self) -> int:
        return self._written % self.rows_per_file

    def _write(self, frame: pl.DataFrame) -> None:
        table = _without_nulls(frame.to_arrow())
        if self._in_file == 0:
            self._close()
            self._path = self.folder / f"{self.prefix}{self._written // self.rows_per_file:05d}.parquet"
            options = {"compression": "snappy", "write_page_checksum": True}
            self._writer = pq.ParquetWriter(self._path, table.schema, **options)
        assert self._writer is not None
        self._writer.write_table(table, row_group_size=self.row_group_rows)
        self._written += len(frame)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            seal(self._path)

    def __enter__(self) -> _Parts:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is None:
            self._close()
        elif self._writer is not None:  # of a file that is thrown away: what went wrong first is what is raised
            with suppress(Exception):
                self._writer.close()
