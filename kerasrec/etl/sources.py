"""Whatever users have their raw data in, as one lazy Polars frame whose nulls are spelled in one way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from kerasrec import globs, hive
from kerasrec.addresses import hide_secrets
from kerasrec.etl import csv_files, exact, execute, parquet_files, partitions
from kerasrec.etl.types import ROW, check_name, column_type, is_float, is_integer, plain_type, to_name
from kerasrec.files.versions import Version, what_changed
from kerasrec.schema import Column, SchemaError, Tag

READERS = {
    **dict.fromkeys((".parquet", ".pq"), parquet_files),
    **dict.fromkeys((".csv", ".tsv"), csv_files),
}


@dataclass
class Source:
    """Raw data, not read yet.

    Attributes:
        frame: its columns as they are.
        types: their Polars types.
        name: what to call it in messages.
        rows: how many rows there are, where that is known without reading them.
        files: where it lies in files, each with its number of rows; in the frame's order, from row number 0 on.
        read: makes a frame of some of the files.
        columnar: whether one column can be read without paying for the others.
        start: the number of the first row; not 0 where this is a part of a larger source.
        keep: what makes this a part of a larger source, by words for it: expressions over raw columns and ROW that
            are true where a row belongs to it.
        engine: where its queries are computed, "cpu" or "gpu".
        versions: of the files, when they were looked at.
        verify: whether the checksums of Parquet files are compared.
    """

    frame: pl.LazyFrame
    types: Mapping[str, pl.DataType]
    name: str
    rows: int | None = None
    files: Sequence[tuple[Path, int]] = ()
    read: Callable[[Sequence[Path]], pl.LazyFrame] | None = None
    columnar: bool = False
    start: int = 0
    keep: Mapping[str, pl.Expr] = field(default_factory=dict)
    engine: str = "cpu"
    versions: Sequence[Version] = ()
    verify: bool = True

    def lazy(self) -> pl.LazyFrame:
        """The rows, with their numbers in a column ROW. (Where nobody reads that, Polars does not make it.)"""
        frame = self.frame.drop(ROW) if ROW in self.types else self.frame  # nobody reads a column of that name
        frame = frame.with_row_index(ROW, offset=self.start)
        for keep in self.keep.values():
            frame = frame.filter(keep)
        return frame

    def collect(self, query: pl.LazyFrame) -> pl.DataFrame:
        """The rows of a query of this data."""
        return execute.collect(query, self.engine)

    def parts(self, rows: int) -> list[Source]:
        """The same rows as several sources, each of at most so many rows of one file (of CSV, where a row is found
        by reading all before it, of a file); a source without files is one part. Rows keep their numbers."""
        if self.read is None or self.rows is None:
            return [self]
        pieces = [(self.frame, self.rows, self.name)]
        if self.rows == sum(count for _, count in self.files):  # else this is a part itself
            pieces = [(self.read([path]), count, str(path)) for path, count in self.files]
        found, number = [], self.start
        for frame, count, name in pieces:
            size = rows if self.columnar else count
            for first in range(0, max(count, 1), max(size, 1)):
                some = min(size, count - first)
                piece = frame if some == count else frame.slice(first, some)
                found.append(replace(self, frame=piece, rows=some, start=number + first, name=name))
            number += count
        return found

    def null_counts(self) -> dict[str, int]:
        """How many nulls some of the columns hold, where that is known without reading them."""
        whole = not self.keep and self.rows == sum(count for _, count in self.files)
        return (
            parquet_files.null_counts([path for path, _ in self.files])
            if self.columnar and self.files and whole
            else {}
        )

    def locate(self, row: int) -> str:
        """Words for where the row with this number stands."""
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
        """What Polars could not read is told as a `SchemaError` that names the file, and so are files that changed
        since they were looked at."""
        try:
            yield
            self._check_versions()
        except pl.exceptions.PolarsError as error:
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
        for path, _ in self.files if self.read and len(self.files) > 1 else ():
            try:
                self.read([path]).select(pl.all().null_count()).collect(engine="streaming")  # type: ignore[misc]
            except pl.exceptions.PolarsError:
                return str(path)
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
        if not exact.may_hold(element, column.dtype) or (isinstance(given, pl.List) and not as_one):
            raise self._mismatch(column)
        if not as_one or not exact.holds_all(element, column.dtype):
            x = exact.expression(x, pl.col(ROW), given, column, partial(self._misfit, column))
            if self.read is None and self.columnar:
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
        if is_list == column.is_list and (number or exact.same_kind(element, column.dtype)):
            words = f"column {column.name!r}: {exact.misfit(value, column.dtype)}"
        else:
            words = f"{self._difference(column)}; it holds {value!r}"
        raise SchemaError(f"{self.locate(row)}: {words}")

    def _mismatch(self, column: Column) -> SchemaError:
        return SchemaError(f"{self.name}: {self._difference(column)}")

    def _difference(self, column: Column) -> str:
        kind = f"a list of {column.dtype}" if column.is_list else column.dtype
        return f"column {column.name!r} is {self.types[column.name]}, but the workflow was fitted on {kind}"


def scan(source: Any, types: Mapping[str, pl.DataType] | None = None) -> Source:
    """Look at a source without reading it.

    Args:
        source: a path, a glob, a folder or a list of paths of Parquet (.parquet, .pq) or CSV (.csv, .tsv)
            files; an Arrow table; a pandas frame; a Polars frame, lazy or not. A folder's folders named
            `column=value` belong to it; such a column is constant in a file.
        types: Polars types of columns that are text, in CSV files or folders' names, where they are known already.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an address, as s3://..., which is not a path.
        SchemaError: a file that is empty, truncated or of another format, a CSV row with a wrong number of fields,
            or files that do not fit together.
        TypeError: none of the above.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, pl.LazyFrame):
        return Source(source, source.collect_schema(), "the LazyFrame")
    if isinstance(source, pl.DataFrame):
        return Source(source.lazy(), source.schema, "the frame", len(source), columnar=True)
    package = type(source).__module__.partition(".")[0]
    if package == "pyarrow":
        return scan(pl.from_arrow(source))
    if package == "pandas":
        return scan(pl.from_pandas(source))
    paths = [source] if isinstance(source, str | os.PathLike) else source
    if not isinstance(paths, Sequence) or not all(isinstance(path, str | os.PathLike) for path in paths):
        raise TypeError(
            "expected a path, a glob, a list of paths, an Arrow table, a pandas or a Polars frame, "
            f"not {type(source).__name__}"
        )
    for path in paths:
        if isinstance(path, str) and "://" in path:
            shown = hide_secrets(path)
            raise ValueError(
                f"{shown}: a workflow reads addresses through Polars: pass a frame of its, "
                f'pl.scan_parquet("{shown}", storage_options=...) or pl.scan_csv'
            )
    files = [file for path in paths for file in _files(Path(path))]
    if not files:
        raise FileNotFoundError("an empty list of files")
    suffixes = {file.suffix.lower() for file in files}
    if len({READERS[suffix] for suffix in suffixes}) > 1 or len(suffixes & {".csv", ".tsv"}) > 1:
        raise SchemaError(f"one input of several formats: {', '.join(sorted(suffixes))}")
    reader = READERS[suffixes.pop()]
    versions = [Version.of(file) for file in files]
    read, counts = reader.scan(files, types or {})
    read = partitions.add(read, files, types or {})
    frame, name = read(files), str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    placed = list(zip(files, counts, strict=True))
    return Source(
        frame, frame.collect_schema(), name, sum(counts), placed, read, reader is parquet_files, versions=versions
    )


def _files(path: Path) -> list[Path]:
    """The data files that a path, a folder or a glob names, in order."""
    if path.is_dir():
        found = [file for file in hive.files(path) if file.suffix in READERS]
        kinds = f"{path} holds no files that end in {', '.join(READERS)}"
    else:
        found = globs.files(path)
        kinds = f"no file matches {path}"
    if not found:
        raise FileNotFoundError(kinds)
    for file in found:
        if file.suffix.lower() not in READERS:
            raise SchemaError(f"{file}: the name must end in {', '.join(READERS)}; otherwise pass a Polars frame")
    return found


def _remedy(dtype: Any) -> str:
    if dtype == pl.Null:
        return "it holds nulls only, so it has no type: cast it to one"
    if dtype.is_temporal():
        return "cast it to an integer"
    return "kerasrec reads numbers, strings, booleans, dates, and lists of those"
