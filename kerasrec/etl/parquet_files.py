"""Parquet files as one lazy frame, checked before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec import hive
from kerasrec.schema import SchemaError

Read = Callable[[Sequence[Path]], pl.LazyFrame]


def scan(files: Sequence[Path], types: Mapping[str, pl.DataType]) -> tuple[Read, list[int]]:
    """A function that makes a frame of the rows of some of `files`, and each file's number of rows.

    What the names of a file's folders say (`day=3/part-0.parquet`) and the file does not hold is a column too: of the
    type in `types` or else of integers, floats or strings, the first that all such values are. `types` is used for
    nothing else: the files hold theirs.

    Raises:
        SchemaError: a file that is empty, truncated or not Parquet, or whose columns differ from the first one's.
    """
    footers = [_footer(file) for file in files]
    first = footers[0].schema.to_arrow_schema()
    for file, footer in zip(files[1:], footers[1:], strict=True):
        schema = footer.schema.to_arrow_schema()
        for name in first.names:
            if name not in schema.names:
                raise SchemaError(f"{file}: no column {name!r}, which {files[0]} has; there are: {schema.names}")
            found, expected = schema.field(name).type, first.field(name).type
            if found != expected:
                raise SchemaError(f"{file}: column {name!r} is {found}, but {expected} in {files[0]}")

    constants = _constants(files, first.names, types)

    def read(files: Sequence[Path]) -> pl.LazyFrame:
        frames = []
        for columns, some in groupby(files, lambda file: constants[file.absolute()]):
            frame = pl.scan_parquet(list(some), glob=False, hive_partitioning=False, extra_columns="ignore")
            frames.append(frame.with_columns(pl.lit(value, kind).alias(name) for name, value, kind in columns))
        return frames[0] if len(frames) == 1 else pl.concat(frames)

    return read, [footer.num_rows for footer in footers]


def _constants(
    files: Sequence[Path], held: Sequence[str], types: Mapping[str, pl.DataType]
) -> dict[Path, tuple[tuple[str, Any, pl.DataType], ...]]:
    """Of each file, the name, value and type of the columns that its folders' names say."""
    found = [hive.partitions([*file.parts[:-1]]) for file in files]
    constants: dict[Path, tuple[tuple[str, Any, pl.DataType], ...]] = {file.absolute(): () for file in files}
    for name in [name for name in found[0] if name not in held]:
        for file, values in zip(files, found, strict=True):
            if name not in values:
                raise SchemaError(f"{file}: no folder of it is named {name}=..., as one of {files[0]} is")
        texts = pl.Series(name, [values[name] for values in found], pl.String())
        kind = types.get(name) or _narrowest(texts)
        for file, value, text in zip(files, texts.cast(kind, strict=False), texts, strict=True):
            if value is None and text is not None:
                raise SchemaError(f"{file}: column {name!r} is {text!r} by the name of a folder, expected {kind}")
            constants[file.absolute()] += ((name, value, kind),)
    return constants


def _narrowest(texts: pl.Series) -> pl.DataType:
    """What type numbers in folders' names are of; they are strings where one is not a number."""
    for kind in (pl.Int64(), pl.Float64()):
        if texts.null_count() < len(texts) and texts.cast(kind, strict=False).null_count() == texts.null_count():
            return kind
    return pl.String()


def _footer(file: Path) -> pq.FileMetaData:
    if file.stat().st_size == 0:
        raise SchemaError(f"{file}: the file is empty")
    try:
        return pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise SchemaError(f"{file}: not a Parquet file, or a truncated one: {error}") from None
