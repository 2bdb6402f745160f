"""A CSV file after one pass over all of it, and how Polars reads its columns by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl

from kerasrec.etl.sources.csv_dialect import Dialect
from kerasrec.etl.sources.csv_types import NULL, CsvType


@dataclass(eq=False)
class CsvFile:
    """What one pass over a file found.

    Args:
        rows: the number of rows, without the header.
        names: the header's fields.
        has_null_fields: whether there may be fields `\\N`.
        inferred: each column's type by the first rows.
        checked: types by all rows, by position and the type asked for (None for whichever fits).
    """

    path: Path
    rows: int
    names: Sequence[str]
    dialect: Dialect
    has_null_fields: bool
    inferred: Sequence[CsvType] = ()
    checked: dict[tuple[int, pl.DataType | None], CsvType] = field(default_factory=dict)

    @cached_property
    def positions(self) -> dict[str, list[int]]:
        """The positions of the columns of each name."""
        positions: dict[str, list[int]] = {}
        for position, name in enumerate(self.names):
            positions.setdefault(name, []).append(position)
        return positions

    def read_as(self, dtypes: Mapping[int, pl.DataType]) -> pl.LazyFrame:
        """Read columns by position, which is their name in the frame: a header's names may be anything."""
        return scan_columns([self], dtypes)

    def infer(self, rows: int, null_values: Sequence[str] = (NULL,)) -> list[pl.DataType]:
        """Return the types that Polars infers from the first `rows` rows."""
        frame = pl.scan_csv(
            self.dialect.source(self.path),
            separator=self.dialect.separator,
            has_header=False,
            skip_rows=1,
            infer_schema_length=rows,
            null_values=list(null_values),
            encoding="utf8-lossy",
            glob=False,
        )
        return frame.collect_schema().dtypes()


def scan_columns(files: Sequence[CsvFile], dtypes: Mapping[int, pl.DataType]) -> pl.LazyFrame:
    """Read columns, by position, of files with one dialect and one header."""
    first = files[0]
    return pl.scan_csv(
        [first.dialect.source(file.path) for file in files],  # type: ignore[arg-type]
        separator=first.dialect.separator,
        has_header=False,
        skip_rows=1,
        schema={str(position): dtypes.get(position, pl.String()) for position in range(len(first.names))},
        null_values=[NULL] if first.has_null_fields else None,
        encoding="utf8-lossy" if first.dialect.lossy else "utf8",
        glob=False,
    ).select(pl.col(str(position)) for position in dtypes)
