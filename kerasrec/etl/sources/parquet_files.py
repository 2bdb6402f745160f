"""Parquet files: Polars reads them, and Arrow reads what Polars cannot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.io.plugins import register_io_source

from kerasrec.etl.sources.arrow_types import is_list, is_plain, polars_type, remedy, to_series
from kerasrec.files.readable import what_is_wrong
from kerasrec.files.versions import Version
from kerasrec.parquet.footers import read_footer
from kerasrec.parquet.pages import check_pages
from kerasrec.parquet.row_groups import leaf_positions
from kerasrec.schema import SchemaError

BATCH_ROWS = 131_072


@dataclass(eq=False)
class Layout:
    """The columns of files with equal footers.

    Args:
        schema: their Arrow types.
        physical: their Parquet types.
        int96: the columns of 96-bit times, as Spark writes them; Polars cannot read those after 2262.
    """

    schema: pa.Schema
    physical: pq.ParquetSchema
    int96: frozenset[str]
    columns: dict[str, list[int]] = field(init=False)  # the positions of the columns of each name
    by_polars: bool = field(init=False)  # whether Polars can read any column
    read_keys: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns = {}
        for place, name in enumerate(self.schema.names):
            self.columns.setdefault(name, []).append(place)
        unique = len(self.columns) == len(self.schema)
        self.by_polars = unique and all(is_plain(column.type) for column in self.schema)

    def arrow_type(self, name: str) -> pa.DataType:
        """Return the Arrow type of a column."""
        return self.schema.field(self.columns[name][0]).type

    def read_key(self, names: tuple[str, ...]) -> Any:
        """Return a value that is equal for files whose columns `names` one query can read."""
        if names not in self.read_keys:
            fields = [self.schema.field(self.columns[name][0]) for name in names]
            types = [(str(field.type), field.metadata) for field in fields]
            self.read_keys[names] = types, self.int96.intersection(names), self.polars_reads(names)
        return self.read_keys[names]

    def polars_reads(self, names: Sequence[str]) -> bool:
        """Return whether Polars reads these columns correctly."""
        extended = any(isinstance(self.arrow_type(name), pa.BaseExtensionType) for name in names)
        return self.by_polars and not extended and self.int96.isdisjoint(names)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "physical": None, "read_keys": {}}


@dataclass(frozen=True)
class ParquetFile:
    """A `raw_columns.RawFile`: a Parquet file."""

    path: Path
    rows: int
    layout: Layout

    @property
    def names(self) -> Collection[str]:
        return self.layout.columns

    def types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        return {name: self._type(name) for name in names}

    def _type(self, name: str) -> pl.DataType:
        positions = self.layout.columns[name]
        if len(positions) > 1:
            raise SchemaError(f"{self.path}: {len(positions)} columns are named {name!r}; rename all but one")
        kind = self.layout.arrow_type(name)
        known = polars_type(kind)
        if name in self.layout.int96:
            known = pl.List(pl.Datetime("us")) if is_list(kind) else pl.Datetime("us")
        if known is None:
            raise SchemaError(f"{self.path}: column {name!r} is of type {kind}; {remedy(kind)}")
        return known

    def read_key(self, names: Sequence[str]) -> Any:
        return self.layout.read_key(tuple(names))

    def at(self, path: Path) -> ParquetFile:
        return replace(self, path=path)


def scan(files: Sequence[Path], known_types: Mapping[str, pl.DataType]) -> list[ParquetFile]:
    """Read the footers of files. `known_types` are ignored, as the files have types.

    Raises:
        SchemaError: a file that is empty, truncated or not Parquet.
    """
    layouts: list[Layout] = []  # most datasets have one
    scanned = []
    for file in files:
        footer = _footer(file)
        schema, physical = footer.schema.to_arrow_schema(), footer.schema
        same = (layout for layout in layouts if layout.schema.equals(schema, check_metadata=True))
        layout = next((layout for layout in same if layout.physical.equals(physical)), None)
        if layout is None:
            layout = Layout(schema, physical, _int96(footer))
            layouts.append(layout)
        scanned.append(ParquetFile(file, footer.num_rows, layout))
    return scanned


def _int96(footer: pq.FileMetaData) -> frozenset[str]:
    kinds = [footer.schema.column(at).physical_type for at in range(footer.num_columns)]
    return frozenset(
        name for name, positions in leaf_positions(footer).items() if "INT96" in [kinds[at] for at in positions]
    )


def read(files: Sequence[ParquetFile], names: Sequence[str], types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Read some columns of files with one `read_key`, in `types`."""
    first = files[0]
    if not first.layout.polars_reads(names):
        return _by_arrow([file.path for file in files], dict(types))
    paths = [file.path for file in files]
    frame = pl.scan_parquet(paths, glob=False, hive_partitioning=False, extra_columns="ignore")
    kinds = {name: first.layout.arrow_type(name) for name in names}
    return frame.with_columns(
        _cast(pl.col(name), kind, types[name]).alias(name)
        for name, kind in kinds.items()
        if polars_type(kind) != types[name] or _may_differ(kind)
    )


def _cast(x: pl.Expr, source: pa.DataType, dtype: pl.DataType) -> pl.Expr:
    """Cast what Polars reads of Arrow type `source` to a type that holds the same values."""
    return (x.fill_nan(None) if pa.types.is_floating(source) and not dtype.is_float() else x).cast(dtype)


def _may_differ(kind: pa.DataType) -> bool:
    """Return whether Polars may read the same values in another type than `polars_type` says."""
    kinds = pa.types
    differs = kinds.is_dictionary(kind) or kinds.is_fixed_size_list(kind) or kinds.is_temporal(kind)
    return differs or any(_may_differ(kind.field(place).type) for place in range(kind.num_fields))


def _by_arrow(paths: Sequence[Path], types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    return register_io_source(partial(_batches, list(paths), dict(types)), schema=dict(types), is_pure=True)


def _batches(
    paths: Sequence[Path],
    types: Mapping[str, pl.DataType],
    with_columns: list[str] | None,
    predicate: pl.Expr | None,
    n_rows: int | None,
    batch_size: int | None,
) -> Iterator[pl.DataFrame]:
    """Yield the rows, as Polars requests them from a Python source."""
    names = list(types) if with_columns is None else with_columns
    for table in chain.from_iterable(_tables(path, names) for path in paths):
        if n_rows is not None:
            table = table.slice(0, n_rows)
            n_rows -= len(table)
        columns = []
        for name in names:
            series = to_series(name, table[name])
            if series.dtype.is_float() and not types[name].is_float():
                series = series.fill_nan(None)
            columns.append(series.cast(types[name]))
        frame = pl.DataFrame(columns)
        yield frame if predicate is None else frame.filter(predicate)
        if n_rows == 0:
            return


def _tables(path: Path, names: Sequence[str]) -> Iterator[pa.Table]:
    with pq.ParquetFile(path, coerce_int96_timestamp_unit="us") as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=list(names)):
            yield pa.Table.from_batches([batch])


def null_counts(files: Sequence[Path]) -> dict[str, int]:
    """Return the number of nulls per column, where all footers have it; not of lists, nor of floats, as NaN is
    null."""
    first, *others = [_null_counts(_footer(file)) for file in files]
    return {
        name: first[name] + sum(count[name] for count in others)
        for name in first
        if all(name in c for c in others)
    }


def _null_counts(footer: pq.FileMetaData) -> dict[str, int]:
    types, counts = footer.schema.to_arrow_schema(), {}
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    for name, positions in leaf_positions(footer).items():
        kind = types.field(name).type
        if not pa.types.is_nested(kind) and not pa.types.is_floating(kind):
            statistics = [group.column(positions[0]).statistics for group in groups]
            if all(one is not None and one.has_null_count for one in statistics):
                counts[name] = sum(one.null_count for one in statistics)
    return counts


def check(file: Path, first: int, rows: int, names: Sequence[str]) -> None:
    """Verify the checksums of the pages of some rows and columns, which Polars does not; once until the file
    changes.

    Args:
        first: the first row.
        rows: the number of rows.

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
    if problem := what_is_wrong(file):
        raise SchemaError(f"{file}: {problem}")
    try:
        footer = read_footer(file)
        footer.schema.to_arrow_schema()
        return footer
    except Exception as error:  # Arrow raises errors of many types for a damaged footer
        raise SchemaError(f"{file}: not a Parquet file, or a truncated one: {error}") from None
