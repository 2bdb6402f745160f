"""Whatever users have their raw data in, as one lazy Polars frame whose nulls are spelled in one way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import polars as pl

from kerasrec import hive
from kerasrec.etl.sources import csv_files, exact_cast, parquet_files, polars_engine
from kerasrec.etl.sources import paths as raw_paths
from kerasrec.etl.sources.raw_columns import Columns, FileColumns, FrameColumns, RawFile, arrow_columns
from kerasrec.etl.sources.types import ROW, check_name, column_type, is_float, is_integer, plain_type, to_name
from kerasrec.excerpts import excerpt
from kerasrec.files.addresses import hide_secrets
from kerasrec.files.versions import Version, what_changed
from kerasrec.schema import Column, SchemaError, Tag

FORMATS: dict[str, Any] = dict.fromkeys(raw_paths.PARQUET, parquet_files) | dict.fromkeys(raw_paths.CSV, csv_files)


@dataclass
class Source:
    """Raw data, not read yet.

    Attributes:
        columns: all its columns as they are.
        name: what to call it in messages.
        rows: how many rows there are, where that is known without reading them.
        files: where it is in files, each with its number of rows; in the frame's order, from row number 0 on.
        columnar: whether one column can be read without paying for the others.
        start: the number of the first row; not 0 where this is a part of a larger source.
        window: of the rows of `columns`, the first one that belongs here, and how many; all for `None`.
        keep: what makes this a part of a larger source, by words for it: expressions over raw columns and ROW that
            are true where a row belongs to it.
        engine: where its queries are computed, "cpu" or "gpu".
        reads: the columns that are read; all that can be for `None`.
        versions: of the files, when they were looked at.
        verify: whether the checksums of Parquet files are compared.
    """

    columns: Columns
    name: str
    rows: int | None = None
    files: Sequence[tuple[Path, int]] = ()
    columnar: bool = False
    start: int = 0
    window: tuple[int, int] | None = None
    keep: Mapping[str, pl.Expr] = field(default_factory=dict)
    engine: str = "cpu"
    reads: Sequence[str] | None = None
    versions: Sequence[Version] = ()
    verify: bool = True

    def reading(self, names: Sequence[str]) -> Source:
        """The same rows with only the columns `names`, and those that `keep` reads; no others are looked at.

        Raises:
            SchemaError: one of them is missing, cannot be read, or has types in several files that do not fit.
        """
        self.require(names)
        reads = list(dict.fromkeys([*names, *self._kept]))
        with self.telling():
            self.columns.types(reads)
        return replace(self, reads=reads)

    @property
    def types(self) -> Mapping[str, pl.DataType]:
        """The columns' Polars types. Asking for one raises `SchemaError` where it cannot be read."""
        return _Types(self)

    def unreadable(self) -> dict[str, str]:
        """Why columns that cannot be read cannot, by their names."""
        reasons = {}
        for name in self.columns.names:
            try:
                check_name(name)
                self.types[name]
            except SchemaError as error:
                reasons[name] = str(error)
        return reasons

    @cached_property
    def frame(self) -> pl.LazyFrame:
        """The columns that are read."""
        if self.reads is None:
            unreadable = self.unreadable()
            reads = [name for name in self.columns.names if name not in unreadable]
            frame = self.columns.read(reads).select(reads)
        else:
            frame = self.columns.read(self.reads)
        return frame if self.window is None else frame.slice(*self.window)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "frame"}

    def lazy(self, names: Sequence[str] | None = None) -> pl.LazyFrame:
        """The rows, with their numbers in a column ROW.

        Args:
            names: the columns that are wanted, if not all; a query over few of many columns is planned faster.
        """
        frame = self.numbered(None if names is None else [*names, *self._kept])
        for keep in self.keep.values():
            frame = frame.filter(keep)
        return frame

    def numbered(self, names: Sequence[str] | None = None) -> pl.LazyFrame:
        """The rows of the source that this is a part of, with their numbers."""
        if names is not None and self.files:
            frame = self.frame.select(list(dict.fromkeys(names)))  # files are looked at once for all queries
        elif names is not None:
            frame = self.reading(names).frame
        else:
            frame = self.frame.drop(ROW, strict=False) if ROW in self.types else self.frame  # nobody reads it
        return frame.with_row_index(ROW, offset=self.start)

    @property
    def _kept(self) -> list[str]:
        """The columns that `keep` reads."""
        return [name for keep in self.keep.values() for name in keep.meta.root_names() if name != ROW]

    def collect(self, query: pl.LazyFrame) -> pl.DataFrame:
        """The rows of a query of this data."""
        return polars_engine.collect(query, self.engine)

    def parts(self, rows: int) -> list[Source]:
        """The same rows as several sources, each of at most so many rows of one file (of CSV, where a row is found
        by reading all before it, of a file); a source without files is one part. Rows keep their numbers."""
        if not isinstance(self.columns, FileColumns) or self.rows is None:
            return [self]
        first, _ = self.window or (0, None)
        pieces: list[tuple[FileColumns, int, str]] = [(self.columns, self.rows, self.name)]
        if self._is_whole:
            names = list(self.columns.names) if self.reads is None else self.reads
            pieces = [
                (self.columns.of([at], names), count, str(path)) for at, (path, count) in enumerate(self.files)
            ]
        found, number = [], self.start
        for columns, count, name in pieces:
            size = rows if self.columnar else count
            for start in range(0, max(count, 1), max(size, 1)):
                some = min(size, count - start)
                window = self.window if some == count else (first + start, some)
                part = replace(self, columns=columns, window=window, rows=some, start=number + start, name=name)
                found.append(part)
            number += count
        return found

    @property
    def _is_whole(self) -> bool:
        """Whether this is no part of a source."""
        return self.rows == sum(count for _, count in self.files)

    def null_counts(self) -> dict[str, int]:
        """How many nulls some of the columns hold, where that is known without reading them."""
        if not (self.columnar and self.files and self._is_whole and not self.keep):
            return {}
        return parquet_files.null_counts([path for path, rows in self.files if rows])

    def locate(self, row: int) -> str:
        """Words for where the row with this number is."""
        for path, rows in self.files:
            if row < rows:
                return f"{path}, row {row}"
            row -= rows
        return f"{self.name}, row {row}"

    def check(self, names: Iterable[str]) -> None:
        """Raise `SchemaError` where the checksums of columns of this source's rows show that a file is damaged."""
        if not (self.verify and self.columnar):
            return
        held, begin = sorted(name for name in names if name in self.types), 0
        end = sum(rows for _, rows in self.files) if self.rows is None else self.start + self.rows
        for path, rows in self.files:
            first, stop = max(self.start - begin, 0), min(end - begin, rows)
            if first < stop:
                parquet_files.check(path, first, stop - first, held)
            begin += rows

    def _check_versions(self) -> None:
        """Raise `SchemaError` where a file is not what it was when it was looked at: rows of two may be mixed."""
        for (path, _), version in zip(self.files, self.versions, strict=False):
            if changed := what_changed(path, version):
                raise SchemaError(f"{path}: the file has changed while it was read: {changed}; read it again")

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Raise what Polars could not read, a panic as well, as a `SchemaError` that names the file; and one for a
        file that changed since it was looked at."""
        try:
            yield
            self._check_versions()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            self._check_versions()
            reason = str(error).split("\n\n")[0]  # what follows is advice on Polars' own arguments
            raise SchemaError(f"{self._culprit()}: {hide_secrets(reason)}") from error
        except SchemaError as error:  # of a column's values, perhaps, and Polars adds its expression
            message, added, _ = str(error).partition("\n\nThis error occurred")
            if not added:
                raise
            raise SchemaError(message) from None

    def _culprit(self) -> str:
        """The file that cannot be read, or, where that is not the reason, the whole source."""
        if self._is_whole and len(self.files) > 1:
            for part in self.parts(sum(count for _, count in self.files)):
                try:
                    part.frame.select(pl.all().null_count()).collect(engine="streaming")
                except (pl.exceptions.PolarsError, pl.exceptions.PanicException, SchemaError):
                    return part.name
        return self.name

    def require(self, names: Sequence[str], optional: Sequence[str] = ()) -> None:
        """Raise `SchemaError` where one of the columns `names` is missing, or has a name that cannot be read;
        `optional` are those of targets."""
        for name in names:
            check_name(name)
        missing = [name for name in names if name not in self.types]
        if missing:
            message = f"{self.name}: no column {', '.join(map(repr, missing))}; there are: {', '.join(self.types)}"
            if set(missing) <= set(optional):
                message += "; pass targets=False for rows without their targets"
            raise SchemaError(message)

    def column(self, name: str) -> Column:
        """The column's type as a schema says it, after `clean`."""
        check_name(name)
        dtype, is_list = self.types[name], False
        if isinstance(dtype, pl.List | pl.Array):
            dtype, is_list = dtype.inner, True  # type: ignore[assignment]
        known = to_name(plain_type(dtype))
        if known is None:
            raise SchemaError(f"{self.name}: column {name!r} is of type {dtype}; {_remedy(dtype)}")
        return Column(name, known, (Tag.LIST,) if is_list else ())

    def clean(self, column: Column) -> pl.Expr:
        """The raw column as `column` says: its type, NaN as null, a null list as an empty one.

        Where it lies in files, computing it raises `SchemaError` for a value that would not stay the same, as 2.5
        would not as an integer.

        Raises:
            SchemaError: its type has no values that `column` can have; or, in memory, it holds such a value.
        """
        given: Any = self.types[column.name]
        x = pl.col(column.name)
        if isinstance(given, pl.Array):
            x, given = x.arr.to_list(), pl.List(given.inner)
        element = given.inner if isinstance(given, pl.List) else given
        as_one = isinstance(given, pl.List) == column.is_list or given == pl.Null
        if not exact_cast.may_hold(element, column.dtype) or (isinstance(given, pl.List) and not as_one):
            raise self._mismatch(column)
        if not as_one or not exact_cast.holds_all(element, column.dtype):
            x = exact_cast.expression(x, pl.col(ROW), given, column, partial(self._misfit, column))
            if not self.files and self.columnar:
                with self.telling():
                    self.lazy().select(x).collect(engine="in-memory")
        elif given != column_type(column):
            x = x.cast(column_type(column))
        if column.is_list:
            if is_float(column.dtype):
                x = x.list.eval(pl.element().fill_nan(None))
            return x.fill_null(pl.lit([], dtype=column_type(column)))
        return x.fill_nan(None) if is_float(column.dtype) else x

    def _misfit(self, column: Column, row: int, value: Any) -> None:
        """Raise for a value that is not one of `column`."""
        given: Any = self.types[column.name]
        is_list = isinstance(given, pl.List | pl.Array)
        element = given.inner if is_list else given
        number = element.is_float() and is_integer(column.dtype)
        if is_list == column.is_list and (number or exact_cast.same_kind(element, column.dtype)):
            words = f"column {column.name!r}: {exact_cast.misfit(value, column.dtype)}"
        else:
            words = f"{self._difference(column)}; it holds {excerpt(value)}"
        raise SchemaError(f"{self.locate(row)}: {words}")

    def _mismatch(self, column: Column) -> SchemaError:
        return SchemaError(f"{self.name}: {self._difference(column)}")

    def _difference(self, column: Column) -> str:
        kind = f"a list of {column.dtype}" if column.is_list else column.dtype
        return f"column {column.name!r} is {self.types[column.name]}, but the workflow was fitted on {kind}"


class _Types(Mapping[str, Any]):
    """The types of a source's columns, each found when it is asked for."""

    def __init__(self, source: Source):
        self._source, self._columns = source, source.columns

    def __getitem__(self, name: str) -> Any:
        if name not in self._columns.names:
            raise KeyError(name)
        try:
            return self._columns.types([name])[name]
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            with self._source.telling():
                raise

    def __contains__(self, name: object) -> bool:
        return name in self._columns.names

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns.names)

    def __len__(self) -> int:
        return len(self._columns.names)


def scan(source: Any, types: Mapping[str, pl.DataType] | None = None) -> Source:
    """Look at a source without reading it.

    Args:
        source: a path, a glob, a folder or a list of paths of Parquet or CSV files (`FORMATS`); an Arrow table; a
            pandas frame; a Polars frame, lazy or not. A folder's folders named `column=value` belong to it; such a
            column is constant in a file.
        types: Polars types of columns that are text, in CSV files or folders' names, where they are known already.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an address, as s3://..., which is not a path.
        SchemaError: a file that is empty, truncated or of another format, a CSV row with a wrong number of fields.
            What is wrong with a column is told where that is read.
        TypeError: none of the above.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, pl.LazyFrame):
        name = "the LazyFrame"
        try:
            return Source(FrameColumns(source, source.collect_schema(), name, lazy=True), name)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise SchemaError(f"{name}: {hide_secrets(str(error))}") from error
    if isinstance(source, pl.DataFrame):
        name = "the frame"
        return Source(FrameColumns(source.lazy(), source.schema, name), name, len(source), columnar=True)
    if (table := arrow_columns(source)) is not None:
        return Source(table, table.name, len(source), columnar=True)
    files = raw_paths.find(source)
    kinds = {kind for file in files if (kind := raw_paths.ending(file.name))}
    if len({FORMATS[kind] for kind in kinds}) > 1 or {".csv", ".tsv"} <= {kind[:4] for kind in kinds}:
        raise SchemaError(f"one input of several formats: {', '.join(sorted(kinds))}")
    reader = FORMATS[kinds.pop()]
    given, versions = types or {}, [Version.of(file) for file in files]
    raw: Sequence[RawFile] = reader.scan(files, given)
    empty = pl.Null() if reader is parquet_files else pl.String()
    folders = [hive.partitions(file.parts[:-1]) for file in files]
    columns = FileColumns(raw, reader.read, given, folders, empty)
    name = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    counts = [(file.path, file.rows) for file in raw]
    total = sum(rows for _, rows in counts)
    return Source(columns, name, total, counts, reader is parquet_files, versions=versions)


def _remedy(dtype: Any) -> str:
    if dtype == pl.Null:
        return "it holds nulls only, so it has no type: cast it to one"
    if dtype.is_integer():
        return "cast it to a string, or to int64 or uint64, the widest that kerasrec reads"
    if dtype.is_temporal():
        return "cast it to an integer"
    return "kerasrec reads numbers, strings, booleans, dates, and lists of those"
