"""The columns of raw data: of frames, and of files that may have different types for one column."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from kerasrec.etl.sources.common_types import Summary, resolve_type
from kerasrec.schema import SchemaError

LAST_NANOSECOND = 2**63 - 1


class Columns(Protocol):
    """The columns that a `Source` reads. A column is inspected only when it is read."""

    @property
    def names(self) -> Collection[str]:
        """The names of all columns, each once, in their order."""

    def types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        """Return the types of some columns. Raise `SchemaError` for one that cannot be read."""

    def read(self, names: Sequence[str]) -> pl.LazyFrame:
        """Return all rows of some columns, in those types."""


@dataclass
class FrameColumns:
    """The columns of a Polars frame.

    Args:
        lazy: whether the frame may read files, whose int96 times Polars may misread.
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
                        f"{self.name}: column {name!r} holds 2262-04-11 23:47:16.854775807, the last time in "
                        "nanoseconds, which Polars returns for all later int96 times; pass the paths of the files"
                    )
        return {name: self.schema[name] for name in names}

    def read(self, names: Sequence[str]) -> pl.LazyFrame:
        return self.frame.select(names)


class RawFile(Protocol):
    """A file whose column names and number of rows are known."""

    @property
    def path(self) -> Path: ...

    @property
    def rows(self) -> int: ...

    @property
    def names(self) -> Collection[str]:
        """The names of its columns, each once, in their order; fast to search."""

    def types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        """Return the types of some columns. Raise `SchemaError` for one that cannot be read."""

    def read_key(self, names: Sequence[str]) -> Any:
        """Return a value that is equal for files whose columns `names` one query can read."""

    def at(self, path: Path) -> RawFile:
        """Return the same file under another path."""


Read = Callable[[Sequence[Any], Sequence[str], Mapping[str, pl.DataType]], pl.LazyFrame]


@dataclass
class FileColumns:
    """The columns of files. Files may have different types for a column; it gets one type that holds all its
    values.

    The types in files without rows do not count. Folders named `column=value` add a constant column to the files
    that do not have it themselves.

    Args:
        files: in their order.
        read_files: reads some columns of files with one `read_key`, in the types given.
        known_types: types of the columns from folder names, where they are known.
        folders: for each file, the columns and values in the names of its folders.
        empty: the type of a column of nulls only.
        resolved: the types found so far.
    """

    files: Sequence[Any]
    read_files: Read
    known_types: Mapping[str, pl.DataType]
    folders: Sequence[Mapping[str, str | None]]
    empty: pl.DataType = field(default_factory=pl.Null)
    resolved: dict[str, pl.DataType] = field(default_factory=dict)

    @cached_property
    def names(self) -> Collection[str]:
        own = dict.fromkeys(name for file in self.files for name in file.names)
        return own | dict.fromkeys(name for folder in self.folders for name in folder)

    def of(self, indices: Sequence[int], names: Sequence[str]) -> FileColumns:
        """Return the columns `names` of some of the files, with the types that they have over all files."""
        self.types(names)
        resolved = {name: self.resolved[name] for name in names}
        files, folders = [self.files[at] for at in indices], [self.folders[at] for at in indices]
        return replace(self, files=files, folders=folders, resolved=resolved)

    def absolute(self) -> FileColumns:
        """Return the same columns with absolute paths, for processes with another working directory."""
        return replace(self, files=[file.at(file.path.absolute()) for file in self.files])

    def types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        new = [name for name in names if name not in self.resolved]
        if new:
            native = [self._types_in_file(at, new) for at in self._with_rows]
            for name in new:
                self.resolved[name] = self._resolve(name, [types[name] for types in native])
        return {name: self.empty if self.resolved[name] == pl.Null else self.resolved[name] for name in names}

    def read(self, names: Sequence[str]) -> pl.LazyFrame:
        types = self.types(names)
        frame = self._runs(names)
        empty = [name for name, dtype in types.items() if dtype != self.resolved[name]]
        return frame.with_columns(pl.col(name).cast(types[name]) for name in empty)

    def _runs(self, names: Sequence[str]) -> pl.LazyFrame:
        types = {name: self.resolved[name] for name in names}
        if not self.files or not any(file.rows for file in self.files):
            return pl.LazyFrame(schema=types)
        frames = []
        for _, run in groupby(self._with_rows, lambda at: self._read_key(at, names)):
            indices = list(run)
            frames.append(self._read(indices, types))
        return frames[0] if len(frames) == 1 else pl.concat([frame.select(names) for frame in frames])

    @property
    def _with_rows(self) -> list[int]:
        """The indices of the files with rows; of all files where none has any."""
        return [at for at, file in enumerate(self.files) if file.rows] or list(range(len(self.files)))

    def _types_in_file(self, at: int, names: Sequence[str]) -> dict[str, pl.DataType]:
        """Return the types of columns in one file."""
        file, folder = self.files[at], self.folders[at]
        own = [name for name in names if name in file.names]
        types = file.types(own)
        for name in names:
            if name in file.names:
                continue
            if name in folder:
                types[name] = self._folder_type(name)
                self._folder_value(at, name, types[name])
            elif any(name in folder for folder in self.folders):
                other = next(f for f, values in zip(self.files, self.folders, strict=True) if name in values)
                raise SchemaError(
                    f"{file.path}: no folder in this path is named {name}=..., but one in {other.path} is; "
                    "move the file"
                )
            else:
                other = next(file for file in self.files if name in file.names)
                raise SchemaError(
                    f"{file.path}: no column {name!r}, which {other.path} has; available: {', '.join(file.names)}"
                )
        return types

    def _folder_type(self, name: str) -> pl.DataType:
        """Return the known type, or else the first of integer, float and string that fits all folders' values."""
        texts = pl.Series([folder[name] for folder in self.folders if name in folder], dtype=pl.String())
        if name in self.known_types:
            return self.known_types[name]
        for dtype in (pl.Int64(), pl.Float64()):
            parsed = texts.cast(dtype, strict=False)
            if texts.null_count() < len(texts) and parsed.null_count() == texts.null_count():
                return dtype
        return pl.String()

    def _folder_value(self, at: int, name: str, dtype: pl.DataType) -> Any:
        text = self.folders[at][name]
        value = pl.Series([text], dtype=pl.String()).cast(dtype, strict=False)[0]
        if value is None and text is not None:
            path = self.files[at].path
            raise SchemaError(
                f"{path}: column {name!r} is {text!r} in the name of a folder, but should be {dtype}"
            )
        return value

    def _resolve(self, name: str, dtypes: Sequence[pl.DataType]) -> pl.DataType:
        first: dict[pl.DataType, Path] = {}
        for at, native in zip(self._with_rows, dtypes, strict=True):
            first.setdefault(native, self.files[at].path)

        def summarize(dtype: pl.DataType, expressions: dict[str, pl.Expr]) -> Summary:
            indices = [at for at, native in zip(self._with_rows, dtypes, strict=True) if native == dtype]
            files, folders = [self.files[at] for at in indices], [self.folders[at] for at in indices]
            frame = replace(self, files=files, folders=folders, resolved={name: dtype}).read([name]).select(name)
            return frame.select(**expressions).collect(engine="streaming").row(0, named=True)

        dtype = resolve_type(list(first), summarize)
        if dtype is not None:
            return dtype
        if not any(file.rows for file in self.files):
            return pl.Null()
        (a, path_a), *others = [(dtype, path) for dtype, path in first.items() if dtype != pl.Null]
        b, path_b = next((pair for pair in others if resolve_type([a, pair[0]], summarize) is None), others[-1])
        raise SchemaError(f"{path_b}: column {name!r} is {b}, but {a} in {path_a}; {_remedy(a, b)}")

    def _read_key(self, at: int, names: Sequence[str]) -> Any:
        file, folder = self.files[at], self.folders[at]
        own = [name for name in names if name in file.names]
        return file.read_key(own), [folder[name] for name in names if name not in own]

    def _read(self, indices: Sequence[int], types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        """Read columns of files with one `read_key`."""
        files = [self.files[at] for at in indices]
        own = {name: dtype for name, dtype in types.items() if name in files[0].names}
        frame = self.read_files(files, list(own), own)
        constants = []
        for name, dtype in types.items():
            if name not in own:
                constants.append(pl.lit(self._folder_value(indices[0], name, dtype), dtype).alias(name))
        return frame.with_columns(constants)


def _remedy(a: pl.DataType, b: pl.DataType) -> str:
    if a.is_numeric() and b.is_numeric():
        return "neither type holds all of these numbers exactly; write the files with one type"
    return "write the files with one type, or pass a Polars LazyFrame that casts them"
