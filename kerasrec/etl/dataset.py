"""Transformed rows, computed when they are collected or written."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from kerasrec.etl.run import dask_cluster
from kerasrec.etl.run.column_expr import ColumnExpr, columns_read, select
from kerasrec.etl.run.column_stats import null_count
from kerasrec.etl.run.parquet_parts import ParquetParts, naming_folder
from kerasrec.etl.run.progress import bar
from kerasrec.etl.sources import polars_engine
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import ROW, column_type
from kerasrec.files import write_aside
from kerasrec.schema import FILENAME, Schema, SchemaError, Tag

if TYPE_CHECKING:
    import pandas as pd

ROW_GROUP_ROWS = 131_072
ROWS_PER_FILE = 32 * ROW_GROUP_ROWS
FILES = ("part-*.parquet", FILENAME)  # that to_parquet writes
PART_ROWS = 2 * ROW_GROUP_ROWS  # raw rows in memory at a time; Polars by itself would read many files at once


@dataclass(frozen=True, repr=False)
class Dataset:
    """Rows as a model takes them, described by `schema`; `Workflow.transform` returns one.

    `kr.Loader(dataset)`, and `fit`, `evaluate` and `predict` of `kr.models`, compute it in memory; `to_parquet`
    writes any number of rows.

    Attributes:
        schema: the columns.
        values: an expression for each column.
        source: the raw rows.
        null_origin: given raw rows and the name of a column with nulls, names the operator that made the first
            null; None where the raw data has it.
    """

    schema: Schema
    values: list[ColumnExpr]
    source: Source
    null_origin: Callable[[Source, str], str | None]

    def __repr__(self) -> str:
        rows = self._rows()
        count = "" if rows is None else f" of {rows:,} row{'' if rows == 1 else 's'}"
        parts = "".join(f", {description}" for description in self.source.filters if description.strip())
        return (
            f"Dataset{count} from {self.source.name}{parts}; computed when it is read, by kr.Loader(dataset), "
            f"collect() or to_parquet(folder)\n{self.schema!r}"
        )

    def __len__(self) -> int:
        """Return the number of rows, which are counted where operators or a split select them."""
        rows = self._rows()
        if rows is None:
            with self.source.explain_errors():
                rows = int(self.source.collect(self._lazy().select(pl.len())).item())
        return rows

    def lazy(self) -> pl.LazyFrame:
        """Return the rows as a lazy Polars frame, not checked for nulls."""
        return self._lazy()

    def _lazy(self, *, row_numbers: bool = False) -> pl.LazyFrame:
        values = [
            replace(value, column=column, expr=value.expr.cast(column_type(column)))
            for column, value in zip(self.schema, self.values, strict=True)
        ]
        return select(self.source.lazy(), values, row_numbers=row_numbers)

    def collect(self) -> pl.DataFrame:
        """Compute all rows in memory.

        Raises:
            SchemaError: a column has nulls, or a binary target a value other than 0 and 1; the message names the
                column and the row.
        """
        with self.source.explain_errors():
            self.source.check(columns_read(self.values))
            frame = self.source.collect(self.lazy())
        self._check(frame, 0)
        return frame

    def head(self, n: int = 5) -> pl.DataFrame:
        """Return the first `n` rows. Raises `SchemaError` as `collect` does, if it is for one of them."""
        with self.source.explain_errors():
            self.source.check(columns_read(self.values))
            frame = self.source.collect(self.lazy().head(n))
        self._check(frame, 0)
        return frame

    def to_polars(self) -> pl.DataFrame:
        """Compute all rows as a Polars frame, as `collect` does."""
        return self.collect()

    def to_pandas(self) -> pd.DataFrame:
        """Compute all rows as a pandas frame. Raises `ImportError` if pandas is not installed."""
        return self.collect().to_pandas()

    def to_arrow(self) -> pa.Table:
        """Compute all rows as an Arrow table."""
        return self.collect().to_arrow()

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

        Rows keep their order and are computed 262,144 at a time. The folder appears only when it is complete.

        Args:
            folder: the path of the folder.
            row_group_rows: rows per row group (a file's last may be shorter); by default 131,072, or
                `rows_per_file` if that is less.
            rows_per_file: rows per file; by default 32 row groups.
            overwrite: whether to replace an existing folder. One with other files than these is never replaced.
            client: a `distributed.Client`, on whose cluster to compute and write the rows; all workers must see
                the source's files and `folder` under the same paths. The rows and their order are the same, but a
                file then has rows of one raw file only.
            progress: whether to show a progress bar on a terminal.

        Returns:
            The folder's path.

        Raises:
            FileExistsError: `folder` exists and `overwrite` is false, or it has other files.
            SchemaError: as for `collect`; or the source cannot be read.
            TypeError: `client` with a source that is not files.
        """
        rows = row_group_rows or min(ROW_GROUP_ROWS, rows_per_file or ROWS_PER_FILE)
        per_file = rows_per_file or 32 * rows
        if rows < 1 or per_file < 1:
            raise ValueError(f"row_group_rows and rows_per_file must be integers >= 1; got {rows} and {per_file}")
        folder = Path(folder)
        with (
            write_aside(folder, overwrite=overwrite, files=FILES) as aside,
            bar("transform", self._rows(), "rows", show=progress) as advance,
        ):
            aside.mkdir()
            with naming_folder(folder):
                if client is None:
                    self.write_files(aside, rows, per_file, advance)
                else:
                    self._write_on_cluster(client, aside, rows, per_file, advance)
            self.schema.save(aside)
        return folder

    def _write_on_cluster(
        self, client: Any, folder: Path, rows: int, per_file: int, advance: Callable[[int], None]
    ) -> None:
        dataset = replace(self, source=dask_cluster.shared(self.source, client))
        parts = [part.source for part in dataset.parts(per_file)]
        # The workers are sent the operators once, with a small source: the task of a part brings the part's.
        write_part = partial(_write_part, replace(dataset, source=parts[0]), rows, per_file)
        dask_cluster.write(parts, write_part, client, folder, advance)

    def write_files(
        self, folder: Path, rows: int, per_file: int, advance: Callable[[int], None], prefix: str = "part-"
    ) -> int:
        """Write `prefix00000.parquet`, ... into an existing folder, without a schema; return the number of rows.

        Args:
            rows: rows per row group.
            per_file: rows per file.
            advance: called with each number of rows written.
            prefix: of the file names.
        """
        with (
            ParquetParts(folder, rows, per_file, prefix) as parts,
            self.source.explain_errors(),
            ThreadPoolExecutor(1) as thread,  # writes rows while the next ones are computed
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
                part.source.check(columns_read(self.values))
                polars_engine.batches(part.lazy(), self.source.engine, take, rows, few=part._has_few(PART_ROWS))
            if writing is not None:
                writing.result()
            if not parts.rows:
                parts.write(pl.DataFrame(schema=[(c.name, column_type(c)) for c in self.schema]))
            parts.flush()
            return parts.rows

    def parts(self, rows: int) -> list[Dataset]:
        """Return the same rows as several datasets, each of at most `rows` raw rows of one file (a CSV file is one
        part); as one dataset, where an operator needs all rows."""
        if any(value.needs_all_rows for value in self.values):
            return [self]
        return [replace(self, source=source) for source in self.source.parts(rows)]

    def _has_few(self, rows: int) -> bool:
        """Return whether at most `rows` rows come out; False where an operator makes new rows."""
        return self.source.rows is not None and self.source.rows <= rows and self.values[0].rows.maker is None

    def _check(self, frame: pl.DataFrame, start: int) -> None:
        """Raise `SchemaError` where `frame`, whose first row is row `start`, does not fit the schema."""
        wrong = {c.name: null_count(pl.col(c.name), c) for c in self.schema}
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
                origin = self.null_origin(self.source, name)
                reason = f": {origin}" if origin else "; add FillMissing or DropNA"
                raise SchemaError(
                    f"{self._place(start + row)}: column {name!r} is null after its operators "
                    f"(one of {count:,} in this batch){reason}"
                )
            row = int((~values.is_in([0.0, 1.0])).arg_true()[0])
            place = self._place(start + row)
            raise SchemaError(
                f"{place}: target {name!r} is {values[row]}, but the workflow was fitted on 0 and 1 only"
            )

    def _rows(self) -> int | None:
        """Return the number of rows, where it is known without reading them."""
        rows = self.values[0].rows
        return None if rows.ops or self.source.filters else self.source.rows

    def _place(self, row: int) -> str:
        """Return where in the raw data output row number `row` is, for messages."""
        rows = self.values[0].rows
        dropped = bool(rows.masks or self.source.filters)
        if dropped:  # find its number before rows were dropped
            with self.source.explain_errors():
                row = self._lazy(row_numbers=True).select(ROW).slice(row, 1).collect(engine="streaming").item()
        if rows.maker is not None:
            return f"{self.source.name}: row {row} of the output of {rows.maker!r}"
        return self.source.locate(row if dropped else self.source.start + row)


def _write_part(
    dataset: Dataset, rows: int, per_file: int, part: Source, folder: Path, advance: Callable[[int], None]
) -> int:
    return replace(dataset, source=part).write_files(folder, rows, per_file, advance)
