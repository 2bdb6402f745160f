"""Writes frames into Parquet files of a set number of rows, in row groups of a set number of rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.parquet.footers import seal


class ParquetParts:
    """Parquet files in a folder.

    Args:
        folder: an existing folder.
        row_group_rows: rows per row group.
        rows_per_file: rows per file.
        prefix: of the file names; a number and ".parquet" follow.
        nulls: whether there may be any.

    Attributes:
        rows: the number of rows passed to `write`.
    """

    def __init__(self, folder: Path, row_group_rows: int, rows_per_file: int, prefix: str, *, nulls: bool = False):
        self.folder, self.row_group_rows, self.rows_per_file = folder, row_group_rows, rows_per_file
        self.prefix, self.nulls = prefix, nulls
        self.rows = 0
        self._pending: pl.DataFrame | None = None  # the last rows, which do not fill a row group yet
        self._written = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, frame: pl.DataFrame) -> None:
        """Append rows, in order."""
        self.rows += len(frame)
        frame = frame if self._pending is None else pl.concat([self._pending, frame])
        while len(frame) >= (size := min(self.row_group_rows, self.rows_per_file - self._in_file)):
            self._write(frame.head(size))
            frame = frame.slice(size)
        self._pending = frame

    def flush(self) -> None:
        """Write the last rows; an empty dataset becomes a file without rows."""
        if self._pending is not None and (len(self._pending) or not self._written):
            self._write(self._pending)
            self._pending = None

    @property
    def _in_file(self) -> int:
        return self._written % self.rows_per_file

    def _write(self, frame: pl.DataFrame) -> None:
        table = frame.to_arrow() if self.nulls else _without_nulls(frame.to_arrow())
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

    def __enter__(self) -> ParquetParts:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is None:
            self._close()
        elif self._writer is not None:  # the file is thrown away, and the first error is the one to raise
            with suppress(Exception):
                self._writer.close()


def _without_nulls(table: pa.Table) -> pa.Table:
    """Return the same columns declared to have no nulls.

    Parquet then stores no definition levels, and decoding takes two thirds to nine tenths of the time.
    """

    def required(field: pa.Field) -> pa.Field:
        if pa.types.is_large_list(field.type):
            field = field.with_type(pa.large_list(required(field.type.value_field)))
        return field.with_nullable(False)

    return table.cast(pa.schema(map(required, table.schema)))


@contextmanager
def naming_folder(folder: Path) -> Iterator[None]:
    """Name the final folder, not the hidden one that is written to, in errors of the operating system."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot write {folder}: {error}") from error
