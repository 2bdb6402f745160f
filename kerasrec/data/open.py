"""What the source of a loader stands for: Parquet files, or rows in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa

from kerasrec.data.files.discovery import Place, Source, find_files, find_schema
from kerasrec.data.files.in_memory import InMemory
from kerasrec.data.files.remote import Remote
from kerasrec.etl.dataset import Dataset
from kerasrec.schema import Schema, SchemaError

# A path or several, a dataset, a frame of Polars, pandas or Arrow, rows as dicts, or columns.
Data: TypeAlias = Source | Iterable[Source] | Dataset | pl.DataFrame | pl.LazyFrame | pa.Table | Mapping[str, Any]


def open_data(
    source: Data, schema: Schema | None, engine: str, storage_options: Mapping[str, Any] | None
) -> tuple[Sequence[Place], Schema]:
    """Return the files of a loader, or its rows in memory, and their schema.

    Raises:
        TypeError: `source` is neither.
        SchemaError: there are several schemas that differ, or a frame comes without one.
        ValueError: an argument does not go with the data.
        FileNotFoundError, ImportError, OSError: as for `find_files` and `find_schema`.
    """
    rows = InMemory.of(source)
    if rows is not None:
        return [rows], _schema_in_memory(source, rows, schema, engine, storage_options)
    paths = [source]
    if isinstance(source, Iterable) and not isinstance(source, str | os.PathLike):
        paths = list(source)  # once, as it may be an iterator
    if not all(isinstance(path, str | os.PathLike | Remote) for path in paths):
        raise TypeError(
            "a loader reads Parquet files (a path or a list of paths), what workflow.transform returns, or with "
            f"schema= transformed rows as a frame or dicts; got {type(source).__name__}"
        )
    files = find_files(paths, storage_options)  # type: ignore[arg-type]
    if engine == "cudf" and (remote := [f for f in files if isinstance(f, Remote)]):
        raise ValueError(f'{remote[0]}: engine="cudf" reads local files; use engine="arrow", or copy them here')
    return files, find_schema(files) if schema is None else schema


def _schema_in_memory(
    source: Data, rows: InMemory, schema: Schema | None, engine: str, storage_options: Mapping[str, Any] | None
) -> Schema:
    if engine == "cudf":
        raise ValueError(
            f'{rows}: engine="cudf" reads local files; use engine="arrow", or write the rows to a folder with '
            "workflow.transform(...).to_parquet(folder)"
        )
    if storage_options:
        raise ValueError(f"{rows}: storage_options are for files at addresses; these rows are in memory")
    if schema is not None:
        return schema
    if isinstance(source, Dataset):
        return source.schema
    raise SchemaError(
        f"{rows} has no schema: pass kr.Loader(workflow.transform(frame)), which has one; or, for rows that are "
        "transformed already, schema=workflow.output_schema"
    )
