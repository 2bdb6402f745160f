"""Frames that a user passes to an operator, which looks up the keys of the data's rows in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import is_integer, to_name
from kerasrec.schema import Column, SchemaError


def read(source: Source, columns: Mapping[str, Column]) -> pl.DataFrame:
    """Read columns of a source, cleaned by `Source.clean`, under the names that are the keys of `columns`."""
    source = source.select([column.name for column in columns.values()])
    clean = {name: source.clean(column) for name, column in columns.items()}
    with source.explain_errors():
        source.check(column.name for column in columns.values())
        return source.lazy().select(x.alias(name) for name, x in clean.items()).collect(engine="streaming")


def check_types(columns: Sequence[Column], frame: pl.DataFrame, keys: Mapping[str, str], what: str) -> None:
    """Raise `SchemaError` where a column has another type than the key column of `frame` that it is looked up in.

    Args:
        keys: the names of the key columns in `frame`, each with the name that the user knows.
        what: what to call the frame in the message.
    """
    for column, (key, name) in zip(columns, keys.items(), strict=True):
        key_type = to_name(frame.schema[key])
        assert key_type is not None
        if key_type != column.dtype and not (is_integer(key_type) and is_integer(column.dtype)):
            raise SchemaError(
                f"column {column.name!r} is {column.dtype}, but {name!r} of {what} is {key_type}; cast one of them"
            )


def of_types(frame: pl.DataFrame, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Cast the keys of a frame to these types, and drop the rows whose keys do not fit: nothing can match them."""
    cast = {key: pl.col(key).cast(dtype, strict=False) for key, dtype in types.items()}
    fits = [x.is_null() == pl.col(key).is_null() for key, x in cast.items()]
    return frame.filter(fits).with_columns(x.alias(key) for key, x in cast.items())
