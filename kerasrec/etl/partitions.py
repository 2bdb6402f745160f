"""Columns that files do not hold, but the names of their folders say: `day=3/shop=de/part-0.parquet`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import polars as pl

from kerasrec import hive
from kerasrec.schema import SchemaError

Read = Callable[[Sequence[Path]], pl.LazyFrame]


def add(read: Read, files: Sequence[Path], types: Mapping[str, pl.DataType]) -> Read:
    """`read`, with the columns that folders' names say after the files' own. What a file holds is read from it.

    They are of the types in `types` or else of integers, floats or strings, the first that all values of one are.

    Raises:
        SchemaError: a file without a value for a column that the first one's folders name, or one of another type.
    """
    found = [hive.partitions(file.parts[:-1]) for file in files]
    if not found[0]:
        return read
    held = read(files[:1]).collect_schema()
    columns: list[pl.Series] = []
    for name in found[0]:
        if name in held:
            continue
        for file, values in zip(files, found, strict=True):
            if name not in values:
                raise SchemaError(f"{file}: no folder of it is named {name}=..., as one of {files[0]} is")
        texts = pl.Series(name, [values[name] for values in found], pl.String())
        kind = types.get(name) or _narrowest(texts)
        column = texts.cast(kind, strict=False)
        for file, value, text in zip(files, column, texts, strict=True):
            if value is None and text is not None:
                raise SchemaError(f"{file}: column {name!r} is {text!r} by the name of a folder, expected {kind}")
        columns.append(column)
    if not columns:
        return read
    rows = dict(zip((file.absolute() for file in files), zip(*columns, strict=True), strict=True))

    def read_all(files: Sequence[Path]) -> pl.LazyFrame:
        frames = []
        for values, some in groupby(files, lambda file: rows[file.absolute()]):
            constants = zip(values, columns, strict=True)
            frame = read(list(some))
            frames.append(frame.with_columns(pl.lit(v, c.dtype).alias(c.name) for v, c in constants))
        return frames[0] if len(frames) == 1 else pl.concat(frames)

    return read_all


def _narrowest(texts: pl.Series) -> pl.DataType:
    for kind in (pl.Int64(), pl.Float64()):
        if texts.null_count() < len(texts) and texts.cast(kind, strict=False).null_count() == texts.null_count():
            return kind
    return pl.String()
