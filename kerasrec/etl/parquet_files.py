"""Parquet files as one lazy frame, checked before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.schema import SchemaError

Read = Callable[[Sequence[Path]], pl.LazyFrame]


def scan(files: Sequence[Path], types: Mapping[str, pl.DataType]) -> tuple[Read, list[int]]:
    """A function that makes a frame of the rows of some of `files`, and each file's number of rows. `types` is not
    used: the files hold theirs.

    Raises:
        SchemaError: a file that is empty, truncated or not Parquet, or whose columns differ from the first one's.
    """
    footers = [_footer(file) for file in files]
    first = footers[0].schema.to_arrow_schema()
    for file, footer in zip(files[1:], footers[1:], strict=True):
        schema = footer.schema.to_arrow_schema()
        for name in first.names:
            if name not in schema.names:
                raise SchemaError(f"{file}: no column {name!r}, which {files[0]} has; there are: {schema.names}")
            found, expected = schema.field(name).type, first.field(name).type
            if found != expected:
                raise SchemaError(f"{file}: column {name!r} is {found}, but {expected} in {files[0]}")

    def read(files: Sequence[Path]) -> pl.LazyFrame:
        return pl.scan_parquet(list(files), glob=False, hive_partitioning=False, extra_columns="ignore")

    return read, [footer.num_rows for footer in footers]


def null_counts(files: Sequence[Path]) -> dict[str, int]:
    """How many nulls columns hold, where all footers tell; not of lists nor of floats, whose NaN is null too."""
    counts: dict[str, int | None] = {}
    for file in files:
        footer = _footer(file)
        types = footer.schema.to_arrow_schema()
        for place in range(footer.num_columns):
            name = footer.schema.column(place).path
            kind = types.field(name).type if name in types.names else None
            if kind is None or pa.types.is_nested(kind) or pa.types.is_floating(kind):
                continue
            for group in range(footer.num_row_groups):
                facts, seen = footer.row_group(group).column(place).statistics, counts.get(name, 0)
                told = seen is not None and facts is not None and facts.has_null_count
                counts[name] = seen + facts.null_count if told else None
    return {name: count for name, count in counts.items() if count is not None}


def _footer(file: Path) -> pq.FileMetaData:
    if file.stat().st_size == 0:
        raise SchemaError(f"{file}: the file is empty")
    try:
        return pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise SchemaError(f"{file}: not a Parquet file, or a truncated one: {error}") from None
