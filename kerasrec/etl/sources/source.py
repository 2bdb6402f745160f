"""Raw data of any supported form as one lazy Polars frame, with one representation of nulls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import polars as pl

from kerasrec.etl.sources import exact_cast, parquet_files, polars_engine
from kerasrec.etl.sources.raw_columns import Columns, FileColumns
from kerasrec.etl.sources.types import ROW, check_name, column_type, is_float, is_integer, plain_type, to_name
from kerasrec.excerpts import excerpt
from kerasrec.files.addresses import hide_secrets
from kerasrec.files.versions import Version, what_changed
from kerasrec.schema import Column, SchemaError, Tag


@dataclass
class Source:
    """Raw data that is read when it is used.

    Attributes:
        columns: all its columns as they are.
        name: its name in messages.
        rows: the number of rows, where it is known without reading them.
        files: the files, if any, each with its number of rows; in the order of the rows, from row number 0 on.
        columnar: whether one column can be read without reading the others.
        start: the number of the first row; not 0 for a part of a larger source.
        window: the first row of `columns` that belongs to this part, and the number of rows; None for all.
        filters: expressions over raw columns and ROW that are true for the rows that belong to this part, by a
            description.
        engine: where queries are computed, "cpu" or "gpu".
        selected: the columns that are read; None for all readable ones.
        versions: the versions of the files when they were scanned.
        verify: whether the checksums of Parquet files are verified.
    """

    columns: Columns
    name: str
    rows: int | None = None
    files: Sequence[tuple[Path, int]] = ()
    columnar: bool = False
    start: int = 0
    window: tuple[int, int] | None = None
    filters: Mapping[str, pl.Expr] = field(default_factory=dict)
    engine: str = "cpu"
    selected: Sequence[str] | None = None
    versions: Sequence[Version] = ()
    verify: bool = True

    def select(self, names: Sequence[str]) -> Source:
        """Return the same rows with only the columns `names` and those that `filters` read.

        Raises:
            SchemaError: a column is missing, cannot be read, or has incompatible types in several files.
        """
        self.require(names)
        selected = list(dict.fromkeys([*names, *self._filter_columns]))
        with self.explain_errors():
            self.columns.types(selected)
        return replace(self, selected=selected)

    @property
    def types(self) -> Mapping[str, pl.DataType]:
        """The columns' Polars types; reading one raises `SchemaError` where the column cannot be read."""
        return _Types(self)

    def unreadable(self) -> dict[str, str]:
        """Return the reason for each column that cannot be read."""
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
        if self.selected is None:
            unreadable = self.unreadable()
            names = [name for name in self.columns.names if name not in unreadable]
            frame = self.columns.read(names).select(names)
        else:
            frame = self.columns.read(self.selected)
        return frame if self.window is None else frame.slice(*self.window)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "frame"}

    def lazy(self, names: Sequence[str] | None = None) -> pl.LazyFrame:
        """Return the rows, with their numbers in a column ROW.

        Args:
            names: the columns to read, if not all; Polars plans a query over few columns faster.
        """
        frame = self.with_row_numbers(None if names is None else [*names, *self._filter_columns])
        for keep in self.filters.values():
            frame = frame.filter(keep)
        return frame

    def with_row_numbers(self, names: Sequence[str] | None = None) -> pl.LazyFrame:
        """Return the rows before `filters`, with their numbers."""
        if names is not None and self.files:
            frame = self.frame.select(list(dict.fromkeys(names)))  # the plan of files is shared by all queries
        elif names is not None:
            frame = self.select(names).frame
        else:
            frame = self.frame.drop(ROW, strict=False) if ROW in self.types else self.frame  # never read
        return frame.with_row_index(ROW, offset=self.start)

    @property
    def _filter_columns(self) -> list[str]:
        """The columns that `filters` read."""
        return [name for keep in self.filters.values() for name in keep.meta.root_names() if name != ROW]

    def collect(self, query: pl.LazyFrame) -> pl.DataFrame:
        """Return the rows of a query over this data."""
        return polars_engine.collect(query, self.engine)

    def parts(self, rows: int) -> list[Source]:
        """Return the same rows as several sources of at most `rows` rows of one file; rows keep their numbers.

        A CSV file is one part, as Polars reaches a row only by reading all before it; so is a source without
        files.
        """
        if not isinstance(self.columns, FileColumns) or self.rows is None:
            return [self]
        first, _ = self.window or (0, None)
        per_file: list[tuple[FileColumns, int, str]] = [(self.columns, self.rows, self.name)]
        if self._is_complete:
            names = list(self.columns.names) if self.selected is None else self.selected
            per_file = [
                (self.columns.of([at], names), count, str(path)) for at, (path, count) in enumerate(self.files)
            ]
        parts, number = [], self.start
        for columns, count, name in per_file:
            size = rows if self.columnar else count
            for start in range(0, max(count, 1), max(size, 1)):
                length = min(size, count - start)
                window = self.window if length == count else (first + start, length)
                part = replace(self, columns=columns, window=window, rows=length, start=number + start, name=name)
                parts.append(part)
            number += count
        return parts

    @property
    def _is_complete(self) -> bool:
        """Whether this is all of the files' rows, not a part of them."""
        return self.rows == sum(count for _, count in self.files)

    def null_counts(self) -> dict[str, int]:
        """Return the number of nulls per column, where it is known without reading the rows."""
        if not (self.columnar and self.files and self._is_complete and not self.filters):
            return {}
        return parquet_files.null_counts([path for path, rows in self.files if rows])

    def locate(self, row: int) -> str:
        """Return the file and the row in it of the row with this number, for messages."""
        for path, rows in self.files:
            if row < rows:
                return f"{path}, row {row}"
            row -= rows
        return f"{self.name}, row {row}"

    def check(self, names: Iterable[str]) -> None:
        """Verify the checksums of columns of this source's rows. Raise `SchemaError` where a file is damaged."""
        if not (self.verify and self.columnar):
            return
        present, begin = sorted(name for name in names if name in self.types), 0
        end = sum(rows for _, rows in self.files) if self.rows is None else self.start + self.rows
        for path, rows in self.files:
            first, stop = max(self.start - begin, 0), min(end - begin, rows)
            if first < stop:
                parquet_files.check(path, first, stop - first, present)
            begin += rows

    def _check_versions(self) -> None:
        """Raise `SchemaError` where a file changed after it was scanned: rows of two versions may be mixed."""
        for (path, _), version in zip(self.files, self.versions, strict=False):
            if changed := what_changed(path, version):
                raise SchemaError(f"{path}: the file changed while it was being read: {changed}; read it again")

    @contextmanager
    def explain_errors(self) -> Iterator[None]:
        """Turn errors and panics of Polars into a `SchemaError` that names the file; raise one as well for a file
        that changed after it was scanned."""
        try:
            yield
            self._check_versions()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            self._check_versions()
            reason = str(error).split("\n\n")[0]  # the rest is advice on Polars' own arguments
            raise SchemaError(f"{self._unreadable_file()}: {hide_secrets(reason)}") from error
        except SchemaError as error:  # Polars adds its expression to an error raised while it computes
            message, suffix, _ = str(error).partition("\n\nThis error occurred")
            if not suffix:
                raise
            raise SchemaError(message) from None

    def _unreadable_file(self) -> str:
        """Return the name of the file that cannot be read; where all can, that of the source."""
        if self._is_complete and len(self.files) > 1:
            for part in self.parts(sum(count for _, count in self.files)):
                try:
                    part.frame.select(pl.all().null_count()).collect(engine="streaming")
                except (pl.exceptions.PolarsError, pl.exceptions.PanicException, SchemaError):
                    return part.name
        return self.name

    def require(self, names: Sequence[str], optional: Sequence[str] = ()) -> None:
        """Raise `SchemaError` where one of the columns `names` is missing or has a name that cannot be read.

        Args:
            optional: the targets among them, which `targets=False` leaves out.
        """
        for name in names:
            check_name(name)
        missing = [name for name in names if name not in self.types]
        if missing:
            message = f"{self.name}: no column {', '.join(map(repr, missing))}; available: {', '.join(self.types)}"
            if set(missing) <= set(optional):
                message += "; pass targets=False for rows without targets"
            raise SchemaError(message)

    def column(self, name: str) -> Column:
        """Return the column as a schema describes it after `clean`."""
        check_name(name)
        dtype, is_list = self.types[name], False
        if isinstance(dtype, pl.List | pl.Array):
            dtype, is_list = dtype.inner, True  # type: ignore[assignment]
        known = to_name(plain_type(dtype))
        if known is None:
            raise SchemaError(f"{self.name}: column {name!r} is of type {dtype}; {_remedy(dtype)}")
        return Column(name, known, (Tag.LIST,) if is_list else ())

    def clean(self, column: Column) -> pl.Expr:
        """Return the raw column as `column` describes it: cast to its type, NaN as null, a null list as an empty
        one.

        For data in files, computing the expression raises `SchemaError` for a value that the cast would change,
        such as 2.5 to an integer.

        Raises:
            SchemaError: no value of its type is one of `column`; or, for data in memory, a value would change.
        """
        given: Any = self.types[column.name]
        x = pl.col(column.name)
        if isinstance(given, pl.Array):
            x, given = x.arr.to_list(), pl.List(given.inner)
        element = given.inner if isinstance(given, pl.List) else given
        same_shape = isinstance(given, pl.List) == column.is_list or given == pl.Null
        if not exact_cast.may_hold(element, column.dtype) or (isinstance(given, pl.List) and not same_shape):
            raise self._mismatch(column)
        if not same_shape or not exact_cast.holds_all(element, column.dtype):
            x = exact_cast.expression(x, pl.col(ROW), given, column, partial(self._misfit, column))
            if not self.files and self.columnar:
                with self.explain_errors():
                    self.lazy().select(x).collect(engine="in-memory")
        elif given != column_type(column):
            x = x.cast(column_type(column))
        if column.is_list:
            if is_float(column.dtype):
                x = x.list.eval(pl.element().fill_nan(None))
            return x.fill_null(pl.lit([], dtype=column_type(column)))
        return x.fill_nan(None) if is_float(column.dtype) else x

    def _misfit(self, column: Column, row: int, value: Any) -> None:
        """Raise `SchemaError` for a value that `column` cannot hold."""
        given: Any = self.types[column.name]
        is_list = isinstance(given, pl.List | pl.Array)
        element = given.inner if is_list else given
        number = element.is_float() and is_integer(column.dtype)
        if is_list == column.is_list and (number or exact_cast.same_kind(element, column.dtype)):
            problem = f"column {column.name!r}: {exact_cast.misfit(value, column.dtype)}"
        else:
            problem = f"{self._difference(column)}; the value is {excerpt(value)}"
        raise SchemaError(f"{self.locate(row)}: {problem}")

    def _mismatch(self, column: Column) -> SchemaError:
        return SchemaError(f"{self.name}: {self._difference(column)}")

    def _difference(self, column: Column) -> str:
        kind = f"a list of {column.dtype}" if column.is_list else column.dtype
        return f"column {column.name!r} is {self.types[column.name]}, but the workflow was fitted on {kind}"


class _Types(Mapping[str, Any]):
    """The types of a source's columns, each inspected when it is read."""

    def __init__(self, source: Source):
        self._source, self._columns = source, source.columns

    def __getitem__(self, name: str) -> Any:
        if name not in self._columns.names:
            raise KeyError(name)
        try:
            return self._columns.types([name])[name]
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            with self._source.explain_errors():
                raise

    def __contains__(self, name: object) -> bool:
        return name in self._columns.names

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns.names)

    def __len__(self) -> int:
        return len(self._columns.names)


def _remedy(dtype: Any) -> str:
    if dtype == pl.Null:
        return "it has only nulls and no type: cast it"
    if dtype.is_integer():
        return "cast it to a string, or to int64 or uint64, the widest types that kerasrec reads"
    if dtype.is_temporal():
        return "cast it to an integer"
    return "kerasrec reads numbers, strings, booleans, dates, and lists of those"
