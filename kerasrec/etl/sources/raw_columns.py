"""The columns of raw data, each looked at only when it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pyarrow as pa

from kerasrec.etl.sources.arrow_types import polars_type, to_series
from kerasrec.etl.sources.common_types import Facts, settle
from kerasrec.schema import SchemaError

LAST_NANOSECOND = 2**63 - 1


def remedy(kind: pa.DataType) -> str:
    """What to do with a column of a type that is not read."""
    if pa.types.is_temporal(kind):
        return "cast it to an integer"
    return "kerasrec reads numbers, strings, booleans, dates, and lists of those"


class Columns(Protocol):
    """What a source asks of its data."""

    @property
    def names(self) -> Collection[str]:
        """The names of all columns, each once, in their order."""

    def types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        """The types of some columns. Raises `SchemaError` for one that cannot be read."""

    def read(self, names: Sequence[str]) -> pl.LazyFrame:
        """All rows of some columns, in those types."""


@dataclass
class FrameColumns:
    """Those of a Polars frame.

    Args:
        lazy: whether it may be read from files, which Polars may have read wrong.
    """

    frame: pl.LazyFrame
    schema: Mapping[str, pl.DataType]
    name: str
    lazy: bool = False

    @property
    def names(self) -> Collection[str]:
        return self.schema.keys()

    def types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        for name in names:
            if self.lazy and self.schema[name] == pl.Datetime("ns"):
                last = (pl.col(name).to_physical() == LAST_NANOSECOND).any()
                if self.frame.select(last).collect(engine="streaming").item():
                    raise SchemaError(
                        f"{self.name}: column {name!r} holds 2262-04-11 23:47:16.854775807, the last moment in "
                        "nanoseconds, which Polars has for all later ones in int96: pass the files' paths instead"
                    )
        return {name: self.schema[name] for name in names}

    def read(self, names: Sequence[str]) -> pl.LazyFrame:
        return self.frame.select(names)


@dataclass
class ArrowColumns:
    """Those of an Arrow table or a pandas frame; none is converted that is not read.

    Args:
        columns: makes the Arrow column of a name; a name that several have is in `twice` instead.
    """

    columns: Mapping[str, Callable[[], pa.ChunkedArray]]
    twice: Sequence[str]
    name: str
    series: dict[str, pl.Series] = field(default_factory=dict)

    @property
    def names(self) -> Collection[str]:
        return dict.fromkeys([*self.columns, *self.twice])

    def types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        return {name: self[name].dtype for name in names}

    def read(self, names: Sequence[str]) -> pl.LazyFrame:
        return pl.DataFrame([self[name] for name in names]).lazy()

    def __getitem__(self, name: str) -> pl.Series:
        if name not in self.series:
            if name in self.twice:
                raise SchemaError(f"{self.name}: several columns are named {name!r}")
            try:
                column = self.columns[name]()
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                reason = f"{error}; a column holds values of one type: convert it, as by .astype(str)"
                raise SchemaError(f"{self.name}: column {name!r} cannot be read: {reason}") from None
            if polars_type(column.type) is None:
                raise SchemaError(f"{self.name}: column {name!r} is of type {column.type}; {remedy(column.type)}")
            self.series[name] = to_series(name, column)
        return self.series[name]


def arrow_columns(data: Any) -> ArrowColumns | None:
    """Those of an Arrow table or record batch, or of a pandas frame; `None` for anything else."""
    package = type(data).__module__.partition(".")[0]
    if isinstance(data, pa.RecordBatchReader):
        data = data.read_all()
    if package == "pandas" and hasattr(data, "columns"):
        names = [str(name) for name in data.columns]
        columns = [partial(_from_pandas, data.iloc[:, at]) for at in range(len(names))]
    elif isinstance(data, pa.Table | pa.RecordBatch):
        names = data.schema.names
        columns = [partial(_chunked, data.column(at)) for at in range(len(names))]
    else:
        return None
    twice = [name for name, count in Counter(names).items() if count > 1]
    unique = {name: column for name, column in zip(names, columns, strict=True) if name not in twice}
    return ArrowColumns(unique, twice, f"the {'frame' if package == 'pandas' else 'table'}")


def _from_pandas(series: Any) -> pa.ChunkedArray:
    if str(series.dtype).startswith("Sparse"):
        series = series.sparse.to_dense()
    return _chunked(pa.array(series, from_pandas=True))


def _chunked(array: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


class RawFile(Protocol):
    """A file of a format, looked at as far as its names and its number of rows."""

    @property
    def path(self) -> Path: ...

    @property
    def rows(self) -> int: ...

    @property
    def names(self) -> Collection[str]:
        """The names of its columns, each once, in their order; quick to search."""

    def types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        """The types of some columns. Raises `SchemaError` for one that cannot be read."""

    def spelling(self, names: Sequence[str]) -> Any:
        """What must be equal for files to be read in one go."""

    def at(self, path: Path) -> RawFile:
        """The same file under another path."""


Read = Callable[[Sequence[Any], Sequence[str], Mapping[str, pl.DataType]], pl.LazyFrame]


@dataclass
class FileColumns:
    """Those of files, each of the type that all its values have: files may spell it differently.

    Files without rows have no say. What folders' names say is a column of the files that do not hold it.

    Args:
        files: in their order.
        read_run: reads some columns of files of one spelling, in the types that it is given.
        given: types of columns that folders' names tell, where they are known.
        folders: of each file, what the names of its folders say.
        empty: the type of a column of nulls only.
        settled: types that were found.
    """

    files: Sequence[Any]
    read_run: Read
    given: Mapping[str, pl.DataType]
    folders: Sequence[Mapping[str, str | None]]
    empty: pl.DataType = field(default_factory=pl.Null)
    settled: dict[str, pl.DataType] = field(default_factory=dict)

    @cached_property
    def names(self) -> Collection[str]:
        own = dict.fromkeys(name for file in self.files for name in file.names)
        return own | dict.fromkeys(name for folder in self.folders for name in folder)

    def of(self, places: Sequence[int], names: Sequence[str]) -> FileColumns:
        """Some of the files, with the types that columns `names` have in all."""
        self.types(names)
        settled = {name: self.settled[name] for name in names}
        files, folders = [self.files[at] for at in places], [self.folders[at] for at in places]
        return replace(self, files=files, folders=folders, settled=settled)

    def absolute(self) -> FileColumns:
        """The same, of files that a process in another folder finds."""
        return replace(self, files=[file.at(file.path.absolute()) for file in self.files])

    def types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        new = [name for name in names if name not in self.settled]
        if new:
            native = [self._native(at, new) for at in self._filled]
            for name in new:
                self.settled[name] = self._settled(name, [types[name] for types in native])
        return {name: self.empty if self.settled[name] == pl.Null else self.settled[name] for name in names}

    def read(self, names: Sequence[str]) -> pl.LazyFrame:
        types = self.types(names)
        frame = self._runs(names)
        empty = [name for name, kind in types.items() if kind != self.settled[name]]
        return frame.with_columns(pl.col(name).cast(types[name]) for name in empty)

    def _runs(self, names: Sequence[str]) -> pl.LazyFrame:
        types = {name: self.settled[name] for name in names}
        if not self.files or not any(file.rows for file in self.files):
            return pl.LazyFrame(schema=types)
        frames = []
        for _, run in groupby(self._filled, lambda at: self._spelling(at, names)):
            places = list(run)
            frames.append(self._read(places, types))
        return frames[0] if len(frames) == 1 else pl.concat([frame.select(names) for frame in frames])

    @property
    def _filled(self) -> list[int]:
        """The files that count, by their places: those with rows, or all where none has any."""
        return [at for at, file in enumerate(self.files) if file.rows] or list(range(len(self.files)))

    def _native(self, at: int, names: Sequence[str]) -> dict[str, pl.DataType]:
        """The types of columns in one file."""
        file, folder = self.files[at], self.folders[at]
        own = [name for name in names if name in file.names]
        types = file.types(own)
        for name in names:
            if name in file.names:
                continue
            if name in folder:
                types[name] = self._folders_type(name)
                self._folders_value(at, name, types[name])
            elif any(name in some for some in self.folders):
                other = next(f for f, some in zip(self.files, self.folders, strict=True) if name in some)
                raise SchemaError(f"{file.path}: no folder of it is named {name}=..., as one of {other.path} is")
            else:
                other = next(some for some in self.files if name in some.names)
                there = list(file.names)
                raise SchemaError(f"{file.path}: no column {name!r}, which {other.path} has; there are: {there}")
        return types

    def _folders_type(self, name: str) -> pl.DataType:
        """The type given, or else the first of integers, floats and strings that all folders' values have."""
        texts = pl.Series([folder[name] for folder in self.folders if name in folder], dtype=pl.String())
        if name in self.given:
            return self.given[name]
        for kind in (pl.Int64(), pl.Float64()):
            parsed = texts.cast(kind, strict=False)
            if texts.null_count() < len(texts) and parsed.null_count() == texts.null_count():
                return kind
        return pl.String()

    def _folders_value(self, at: int, name: str, kind: pl.DataType) -> Any:
        text = self.folders[at][name]
        value = pl.Series([text], dtype=pl.String()).cast(kind, strict=False)[0]
        if value is None and text is not None:
            path = self.files[at].path
            raise SchemaError(f"{path}: column {name!r} is {text!r} by the name of a folder, expected {kind}")
        return value

    def _settled(self, name: str, kinds: Sequence[pl.DataType]) -> pl.DataType:
        first: dict[pl.DataType, Path] = {}
        for at, native in zip(self._filled, kinds, strict=True):
            first.setdefault(native, self.files[at].path)

        def look(kind: pl.DataType, wanted: dict[str, pl.Expr]) -> Facts:
            places = [at for at, one in zip(self._filled, kinds, strict=True) if one == kind]
            files, folders = [self.files[at] for at in places], [self.folders[at] for at in places]
            frame = replace(self, files=files, folders=folders, settled={name: kind}).read([name]).select(name)
            return frame.select(**wanted).collect(engine="streaming").row(0, named=True)

        kind = settle(list(first), look)
        if kind is not None:
            return kind
        if not any(file.rows for file in self.files):
            return pl.Null()
        (one, here), *others = [(kind, path) for kind, path in first.items() if kind != pl.Null]
        two, there = next(((two, there) for two, there in others if settle([one, two], look) is None), others[-1])
        raise SchemaError(f"{there}: column {name!r} is {two}, but {one} in {here}; {_remedy(one, two)}")

    def _spelling(self, at: int, names: Sequence[str]) -> Any:
        file, folder = self.files[at], self.folders[at]
        own = [name for name in names if name in file.names]
        return file.spelling(own), [folder[name] for name in names if name not in own]

    def _read(self, places: Sequence[int], types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        """Columns of files of one spelling."""
        files = [self.files[at] for at in places]
        own = {name: kind for name, kind in types.items() if name in files[0].names}
        frame = self.read_run(files, list(own), own)
        constants = []
        for name, kind in types.items():
            if name not in own:
                constants.append(pl.lit(self._folders_value(places[0], name, kind), kind).alias(name))
        return frame.with_columns(constants)


def _remedy(a: pl.DataType, b: pl.DataType) -> str:
    if a.is_numeric() and b.is_numeric():
        return "neither type holds all of these numbers exactly: write the files with one type"
    return "write the files with one type, or pass a Polars LazyFrame that casts them"
