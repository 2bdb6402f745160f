"""Parquet files as one lazy frame, checked before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.files.readable import what_is_wrong
from kerasrec.files.versions import Version
from kerasrec.pages import check_pages
from kerasrec.parquet import leaves
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
    first, *others = [_null_counts(_footer(file)) for file in files]
    return {
        name: first[name] + sum(count[name] for count in others)
        for name in first
        if all(name in c for c in others)
    }


def _null_counts(footer: pq.FileMetaData) -> dict[str, int]:
    types, counts = footer.schema.to_arrow_schema(), {}
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    for name, places in leaves(footer).items():
        kind = types.field(name).type
        if not pa.types.is_nested(kind) and not pa.types.is_floating(kind):
            facts = [group.column(places[0]).statistics for group in groups]
            if all(fact is not None and fact.has_null_count for fact in facts):
                counts[name] = sum(fact.null_count for fact in facts)
    return counts


def check(file: Path, first: int, rows: int, names: Sequence[str]) -> None:
    """Compare the checksums of the pages that hold some rows of some columns, once as long as the file does not
    change. Polars does not.

    Args:
        first, rows: the first row, and how many.

    Raises:
        SchemaError: a page is damaged.
    """
    footer, begin = _footer(file), 0
    for index in range(footer.num_row_groups):
        end = begin + footer.row_group(index).num_rows
        if begin < first + rows and end > first:
            _check(file, index, tuple(names), Version.of(file))
        begin = end


@lru_cache(maxsize=65_536)
def _check(file: Path, row_group: int, names: tuple[str, ...], version: Version) -> None:
    try:
        check_pages(file, _footer(file), [row_group], names)
    except (ValueError, OSError) as error:
        raise SchemaError(str(error)) from None


def _footer(file: Path) -> pq.FileMetaData:
    if wrong := what_is_wrong(file):
        raise SchemaError(f"{file}: {wrong}")
    try:
        footer = pq.read_metadata(file)
        footer.schema.to_arrow_schema()
        return footer
    except Exception as error:  # Arrow has many kinds for what a damaged footer may say
        raise SchemaError(f"{file}: not a Parquet file, or a truncated one: {error}") from None
