"""Parquet files: looked at by their footers, read by Polars, or by Arrow where Polars cannot."""

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

from kerasrec.etl.sources.arrow_types import is_list, is_plain, polars_type, to_series
from kerasrec.etl.sources.raw_columns import remedy
from kerasrec.files.readable import what_is_wrong
from kerasrec.files.versions import Version
from kerasrec.parquet.footers import read_footer
from kerasrec.parquet.pages import check_pages
from kerasrec.parquet.row_groups import leaves
from kerasrec.schema import SchemaError

BATCH_ROWS = 131_072


@dataclass(eq=False)
class Layout:
    """The columns of files, as their footers tell.

    Args:
        schema: in Arrow's types.
        physical: in Parquet's.
        int96: columns of moments of 96 bits, as Spark writes them; those that Polars makes of them end in 2262.
    """

    schema: pa.Schema
    physical: pq.ParquetSchema
    int96: frozenset[str]
    columns: dict[str, list[int]] = field(init=False)  # where those of a name are
    by_polars: bool = field(init=False)  # whether Polars can read any column
    spellings: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns = {}
        for place, name in enumerate(self.schema.names):
            self.columns.setdefault(name, []).append(place)
        unique = len(self.columns) == len(self.schema)
        self.by_polars = unique and all(is_plain(column.type) for column in self.schema)

    def arrow_type(self, name: str) -> pa.DataType:
        return self.schema.field(self.columns[name][0]).type

    def spelling(self, names: tuple[str, ...]) -> Any:
        """What must be equal for columns to be read in one go."""
        if names not in self.spellings:
            fields = [self.schema.field(self.columns[name][0]) for name in names]
            facts = [(str(field.type), field.metadata) for field in fields]
            self.spellings[names] = facts, self.int96.intersection(names), self.reads(names)
        return self.spellings[names]

    def reads(self, names: Sequence[str]) -> bool:
        """Whether Polars reads these columns right."""
        extended = any(isinstance(self.arrow_type(name), pa.BaseExtensionType) for name in names)
        return self.by_polars and not extended and self.int96.isdisjoint(names)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "physical": None, "spellings": {}}


@dataclass(frozen=True)
class ParquetFile:
    """A `columns.RawFile`."""

    path: Path
    rows: int
    layout: Layout

    @property
    def names(self) -> Collection[str]:
        return self.layout.columns

    def types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        return {name: self._type(name) for name in names}

    def _type(self, name: str) -> pl.DataType:
        found = self.layout.columns[name]
        if len(found) > 1:
            raise SchemaError(f"{self.path}: {len(found)} columns are named {name!r}")
        kind = self.layout.arrow_type(name)
        known = polars_type(kind)
        if name in self.layout.int96:
            known = pl.List(pl.Datetime("us")) if is_list(kind) else pl.Datetime("us")
        if known is None:
            raise SchemaError(f"{self.path}: column {name!r} is of type {kind}; {remedy(kind)}")
        return known

    def spelling(self, names: Sequence[str]) -> Any:
        return self.layout.spelling(tuple(names))

    def at(self, path: Path) -> ParquetFile:
        return replace(self, path=path)


def scan(files: Sequence[Path], given: Mapping[str, pl.DataType]) -> list[ParquetFile]:
    """Look at files by their footers. Types that are `given` are not used: the files hold theirs.

    Raises:
        SchemaError: a file that is empty, truncated or not Parquet.
    """
    layouts: list[Layout] = []  # most datasets have one
    found = []
    for file in files:
        footer = _footer(file)
        schema, physical = footer.schema.to_arrow_schema(), footer.schema
        same = (one for one in layouts if one.schema.equals(schema, check_metadata=True))
        layout = next((one for one in same if one.physical.equals(physical)), None)
        if layout is None:
            layout = Layout(schema, physical, _int96(footer))
            layouts.append(layout)
        found.append(ParquetFile(file, footer.num_rows, layout))
    return found


def _int96(footer: pq.FileMetaData) -> frozenset[str]:
    kinds = [footer.schema.column(place).physical_type for place in range(footer.num_columns)]
    return frozenset(name for name, places in leaves(footer).items() if "INT96" in [kinds[at] for at in places])


def read(files: Sequence[ParquetFile], names: Sequence[str], types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Read some columns of files of one spelling, in `types`."""
    first = files[0]
    if not first.layout.reads(names):
        return _by_arrow([file.path for file in files], dict(types))
    paths = [file.path for file in files]
    frame = pl.scan_parquet(paths, glob=False, hive_partitioning=False, extra_columns="ignore")
    kinds = {name: first.layout.arrow_type(name) for name in names}
    return frame.with_columns(
        _cast(pl.col(name), kind, types[name]).alias(name)
        for name, kind in kinds.items()
        if polars_type(kind) != types[name] or _is_spelled(kind)
    )


def _cast(x: pl.Expr, given: pa.DataType, wanted: pl.DataType) -> pl.Expr:
    """Cast what Polars reads of Arrow's type `given` to a type that holds the same values."""
    return (x.fill_nan(None) if pa.types.is_floating(given) and not wanted.is_float() else x).cast(wanted)


def _is_spelled(kind: pa.DataType) -> bool:
    """Whether Polars may read another type than `polars_type` says, of the same values."""
    kinds = pa.types
    spelled = kinds.is_dictionary(kind) or kinds.is_fixed_size_list(kind) or kinds.is_temporal(kind)
    return spelled or any(_is_spelled(kind.field(place).type) for place in range(kind.num_fields))


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
    """What Polars asks of a source of its own."""
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
        footer = read_footer(file)
        footer.schema.to_arrow_schema()
        return footer
    except Exception as error:  # Arrow has many kinds for what a damaged footer may say
        raise SchemaError(f"{file}: not a Parquet file, or a truncated one: {error}") from None
