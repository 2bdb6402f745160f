"""Writes tables into Parquet files of a set number of rows."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.parquet.footers import seal


class Parts:
    """Parquet files of at most `rows_per_file` rows in a folder: part-00000.parquet, ..."""

    def __init__(self, folder: Path, rows_per_file: int):
        folder.mkdir(parents=True)
        self._folder, self._rows_per_file = folder, rows_per_file
        self._writer: pq.ParquetWriter | None = None
        self._files = self._rows = 0

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        while len(table):
            if self._writer is None:
                path = self._folder / f"part-{self._files:05d}.parquet"
                # Without the Arrow schema in the file, dictionaries are read back as plain strings.
                self._writer = pq.ParquetWriter(path, table.schema, store_schema=False, write_page_checksum=True)
                self._files, self._rows = self._files + 1, 0
            part = table.slice(0, self._rows_per_file - self._rows)
            self._writer.write_table(part)
            self._rows += len(part)
            table = table.slice(len(part))
            if self._rows == self._rows_per_file:
                self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            seal(self._folder / f"part-{self._files - 1:05d}.parquet")

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._close()
        elif self._writer is not None:  # the file is thrown away, and the first error is the one to raise
            with suppress(Exception):
                self._writer.close()
