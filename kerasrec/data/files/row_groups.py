"""The row groups of files and frames, checked against a schema as far as footers and types allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import pyarrow.parquet as pq

from kerasrec import hive
from kerasrec.data.files.checks import check_ids, check_nulls, check_range, check_type, check_weights, parse
from kerasrec.data.files.discovery import DataFile, Place
from kerasrec.data.files.in_memory import InMemory
from kerasrec.data.files.remote import Remote, RemoteError
from kerasrec.data.files.versions import FileVersion, version_of
from kerasrec.data.threads import side_by_side
from kerasrec.files.readable import what_is_wrong
from kerasrec.parquet.footers import read_footer
from kerasrec.parquet.row_groups import leaf_positions
from kerasrec.schema import Column, Hotness, Schema, SchemaError, Tag

Constants: TypeAlias = Mapping[str, bool | int | float]

REQUESTS = 16  # footers of remote files that are fetched at the same time


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file, the least that is decoded at once, or the part of it that a rank reads.

    Args:
        path: the file, or the rows in memory.
        index: the position of the row group in the file.
        rows: the number of rows to read.
        unchecked: categorical columns whose statistics do not say the range of ids: it is checked after decoding.
        start: the first row to read, if only a part is read; `None` for the whole row group.
        constants: columns that the names of the file's folders give: name -> value.
        version: the version of the file when its footer was read.
    """

    path: Place
    index: int
    rows: int
    unchecked: frozenset[str] = frozenset()
    start: int | None = None
    constants: Constants = field(default_factory=dict)
    version: FileVersion | None = None

    def within(self, start: int, stop: int) -> RowGroup | None:
        """Return the part of this whole row group in rows `start` to `stop`, which may be beyond its ends."""
        start, stop = max(start, 0), min(stop, self.rows)
        if start >= stop:
            return None
        return self if stop - start == self.rows else replace(self, start=start, rows=stop - start)


def read_row_groups(files: Sequence[Place], schema: Schema) -> tuple[list[RowGroup], Schema]:
    """Return the row groups of files, of which only the footers are read, or of rows in memory.

    A column that is not in a file has the value in the names of the file's folders: `day=3/part-0.parquet`. In the
    schema that is returned, list columns without a hotness have one if all files store them with one fixed size.

    Args:
        files: Parquet files, or rows in memory alone.
        schema: the columns to read.

    Raises:
        SchemaError: a column is missing, its type does not fit, or the value in a folder's name does not.
        OSError: a file does not answer.
        ValueError: a file is not readable as Parquet, or its statistics show nulls or ids out of range.
    """
    for rows in files:
        if isinstance(rows, InMemory):
            return _in_memory(rows, schema)
    return _of_files([path for path in files if not isinstance(path, InMemory)], schema)


def _of_files(files: Sequence[DataFile], schema: Schema) -> tuple[list[RowGroup], Schema]:
    row_groups = []
    sizes: dict[str, set[int]] = {}  # of list columns; -1 for a file where rows may differ in length
    folders = [hive.partitions(path.parts[:-1]) for path in files]
    in_folders = {name: path for path, values in zip(files, folders, strict=True) for name in values}
    for path, values, (version, footer) in zip(files, folders, _footers(files), strict=True):
        if not footer.num_rows:
            continue
        fields = footer.schema.to_arrow_schema()
        constants = {}
        stored = []
        for column in schema:
            if column.name in in_folders and column.name not in fields.names:
                if column.name not in values:
                    raise SchemaError(
                        f"{path}: column {column.name!r} is neither in the file nor in the names of its folders, "
                        f"as it is for {in_folders[column.name]}"
                    )
                constants[column.name] = parse(column, values[column.name], footer.num_rows, path)
                continue
            check_type(column, fields, path)
            stored.append(column)
            if column.is_list:
                size = getattr(fields.field(column.name).type, "list_size", -1)
                sizes.setdefault(column.name, set()).add(size)
        positions = leaf_positions(footer)
        for index in range(footer.num_row_groups):
            group = footer.row_group(index)
            unchecked = _check_statistics(group, positions, stored, path)
            if rows := group.num_rows:
                row_groups.append(RowGroup(path, index, rows, unchecked, constants=constants, version=version))
    fixed = {name: lengths.pop() for name, lengths in sizes.items() if len(lengths) == 1}
    return row_groups, Schema(_with_hotness(column, fixed.get(column.name, -1)) for column in schema)


def _in_memory(rows: InMemory, schema: Schema) -> tuple[list[RowGroup], Schema]:
    fields, sizes = rows.load(schema), {}
    for column in schema:
        if rows.rows or column.name not in fields.names:
            check_type(column, fields, rows)
        if column.is_list:
            sizes[column.name] = getattr(fields.field(column.name).type, "list_size", -1)
    # Ids are checked in each pass: a frame can be changed in place.
    unchecked = frozenset(column.name for column in schema if column.cardinality is not None)
    row_groups = [RowGroup(rows, index, size, unchecked) for index, size in enumerate(rows.row_groups())]
    return row_groups, Schema(_with_hotness(column, sizes.get(column.name, -1)) for column in schema)


def _with_hotness(column: Column, size: int) -> Column:
    if size < 1 or column.hotness is not None:
        return column
    return column.evolve(hotness=Hotness(size, float(size), size))


def _footers(files: Sequence[DataFile]) -> Iterable[tuple[FileVersion, pq.FileMetaData]]:
    if any(isinstance(path, Remote) for path in files):
        return side_by_side(_read_footer, files, REQUESTS)  # most of the time is spent waiting for a server
    return map(_read_footer, files)


def _read_footer(path: DataFile) -> tuple[FileVersion, pq.FileMetaData]:
    try:
        version = version_of(path)
        if not isinstance(path, Remote) and (problem := what_is_wrong(path)):
            raise ValueError(problem)
        footer = path.footer if isinstance(path, Remote) else read_footer(path)
        footer.schema.to_arrow_schema()
    except (RemoteError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # Arrow raises many types for what a damaged footer may contain
        raise ValueError(f"{path}: not readable as Parquet: {error}") from None
    return version, footer


def _check_statistics(
    group: pq.RowGroupMetaData, positions: Mapping[str, range], columns: Sequence[Column], path: DataFile
) -> frozenset[str]:
    """Check columns by a row group's statistics; return the categorical columns that these do not cover."""
    unchecked = set()
    for column in columns:
        statistics = _statistics(group, positions, column)
        # In a list column, empty lists are counted as nulls.
        if statistics is not None and statistics.has_null_count and not column.is_list:
            check_nulls(column, statistics.null_count, path)
        low = high = None
        if statistics is not None and statistics.has_min_max:
            low, high = statistics.min, statistics.max
        if column.cardinality is not None:
            if low is None or high is None:
                unchecked.add(column.name)
            else:
                check_ids(column, low, high, path)
        if isinstance(low, int) and isinstance(high, int):
            check_range(column, low, high, path)
        if Tag.WEIGHT in column.tags and isinstance(low, int | float) and isinstance(high, int | float):
            check_weights(column, low, high, path)
    return frozenset(unchecked)


def _statistics(
    group: pq.RowGroupMetaData, positions: Mapping[str, range], column: Column
) -> pq.Statistics | None:
    """Return the statistics of a column with a single leaf, numbers or lists of numbers; None without any."""
    leaves = positions.get(column.name, ())
    return group.column(leaves[0]).statistics if len(leaves) == 1 else None
