"""Frames beside the data, that an operator is given and looks rows' keys up in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import is_integer, to_name
from kerasrec.schema import Column, SchemaError


def read(source: Source, columns: Mapping[str, Column]) -> pl.DataFrame:
    """Columns of a source, under other names if wanted, as `Source.clean` makes them."""
    source = source.reading([column.name for column in columns.values()])
    clean = {name: source.clean(column) for name, column in columns.items()}
    with source.telling():
        source.check(column.name for column in columns.values())
        return source.lazy().select(x.alias(name) for name, x in clean.items()).collect(engine="streaming")


def check_types(columns: Sequence[Column], frame: pl.DataFrame, keys: Mapping[str, str], what: str) -> None:
    """Raise `SchemaError` where columns are not of the type of those that they are looked up in, the `keys` of a
    frame with the names that users know them by."""
    for column, (key, name) in zip(columns, keys.items(), strict=True):
        theirs = to_name(frame.schema[key])
        assert theirs is not None
        if theirs != column.dtype and not (is_integer(theirs) and is_integer(column.dtype)):
            raise SchemaError(f"column {column.name!r} is {column.dtype}, but {name!r} of {what} is {theirs}")


def of_types(frame: pl.DataFrame, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The rows of a frame whose keys fit these types (no others are looked for), as such."""
    cast = {key: pl.col(key).cast(dtype, strict=False) for key, dtype in types.items()}
    fits = [x.is_null() == pl.col(key).is_null() for key, x in cast.items()]
    return frame.filter(fits).with_columns(x.alias(key) for key, x in cast.items())
