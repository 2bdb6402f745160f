"""Finds the raw data that a user names or passes: files, frames, Arrow tables, dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from kerasrec import hive
from kerasrec.etl.sources import csv_files, parquet_files, paths
from kerasrec.etl.sources.arrow_columns import arrow_columns
from kerasrec.etl.sources.raw_columns import FileColumns, FrameColumns, RawFile
from kerasrec.etl.sources.source import Source
from kerasrec.files.addresses import hide_secrets
from kerasrec.files.versions import Version
from kerasrec.schema import SchemaError

FORMATS: dict[str, Any] = dict.fromkeys(paths.PARQUET, parquet_files) | dict.fromkeys(paths.CSV, csv_files)


def scan(source: Any, types: Mapping[str, pl.DataType] | None = None) -> Source:
    """Return a source whose rows are not read yet.

    Args:
        source: a path, a glob, a folder or a list of paths of Parquet or CSV files (`FORMATS`); an Arrow table; a
            pandas frame; a Polars frame, lazy or not; a list of dicts, one per row, where a key that is missing is
            a null; a dict of columns. Subfolders named `column=value` are read too; the column is
            constant in each of their files.
        types: Polars types of columns of CSV files and folder names, where they are known already.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a URL such as s3://..., which is not a path.
        SchemaError: a file that is empty, truncated or of another format, a CSV row with a wrong number of fields.
            Problems with a column are raised when it is read.
        TypeError: `source` is none of these.
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
        return Source(table, table.name, table.rows, columnar=True)
    files = paths.find(source)
    endings = {ending for file in files if (ending := paths.ending(file.name))}
    if len({FORMATS[ending] for ending in endings}) > 1 or {".csv", ".tsv"} <= {ending[:4] for ending in endings}:
        raise SchemaError(f"one source has files of several formats: {', '.join(sorted(endings))}")
    reader = FORMATS[endings.pop()]
    known_types, versions = types or {}, [Version.of(file) for file in files]
    raw: Sequence[RawFile] = reader.scan(files, known_types)
    empty = pl.Null() if reader is parquet_files else pl.String()
    folders = [hive.partitions(file.parts[:-1]) for file in files]
    columns = FileColumns(raw, reader.read, known_types, folders, empty)
    name = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    counts = [(file.path, file.rows) for file in raw]
    total = sum(rows for _, rows in counts)
    return Source(columns, name, total, counts, reader is parquet_files, versions=versions)
