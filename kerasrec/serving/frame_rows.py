"""Columns of a Polars, pandas or Arrow frame as NumPy arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from kerasrec.etl.sources import exact_cast
from kerasrec.etl.sources.arrow_columns import ArrowColumns, arrow_columns
from kerasrec.etl.sources.types import is_integer, to_polars
from kerasrec.schema import Column, SchemaError
from kerasrec.serving.elements import Elements, Read, RowOf, list_offsets, misfit, row_of


def frame_reader(data: Any) -> Read:
    """Return a function that reads a column of a frame. Raise `TypeError` where `data` is not one."""
    columns = arrow_columns(data) or _to_polars(data)
    names = columns.names if isinstance(columns, ArrowColumns) else columns.columns

    def read(column: Column) -> Elements:
        if column.name not in names:
            raise SchemaError(f"no column {column.name!r}; the frame has: {', '.join(names)}")
        series = columns[column.name].alias("")  # Polars' own methods of a series take its name for a pattern
        if isinstance(series.dtype, pl.Array):
            series = series.arr.to_list()
        if not column.is_list:
            return _elements(_cast(series, column, row_of(None)))
        if not isinstance(series.dtype, pl.List):
            if len(_cast(series, column, row_of(None)).drop_nulls()):
                raise _mismatch(column, series.dtype)
            series = pl.Series(series.name, [None] * len(series), pl.List(pl.Null))
        lengths = series.list.len().fill_null(0)
        offsets = list_offsets(lengths.to_numpy())
        elements = series.filter(lengths > 0).explode()
        return _elements(_cast(elements, column, row_of(offsets)), offsets)

    return read


def _to_polars(data: Any) -> pl.DataFrame:
    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    kinds = "a Polars, pandas or Arrow frame, a dict of columns, or a list of dicts"
    raise TypeError(f"expected {kinds}; got {type(data).__name__}")


def _cast(series: pl.Series, column: Column, row_of: RowOf) -> pl.Series:
    """Return `series` in the column's dtype. Raises an error for the first value that would change."""
    given, dtype = series.dtype, column.dtype
    if dtype == "datetime" and given.is_integer():
        return series.cast(to_polars(dtype))
    cast, wrong = exact_cast.cast(series, dtype)
    if wrong is None:
        return cast
    if exact_cast.same_kind(given, dtype) or (given.is_float() and is_integer(dtype)):
        raise misfit(column, row_of(wrong), series[wrong])
    raise _mismatch(column, given)


def _mismatch(column: Column, given: Any) -> SchemaError:
    kind = f"a list of {column.dtype}" if column.is_list else column.dtype
    return SchemaError(f"column {column.name!r} is {given}, but the workflow was fitted on {kind}")


def _elements(series: pl.Series, offsets: np.ndarray | None = None) -> Elements:
    if series.dtype == pl.Datetime:
        series = series.to_physical()
    text, floats = series.dtype == pl.String, series.dtype.is_float()
    valid = np.ones(len(series), bool)
    if series.null_count():
        valid = series.is_not_null().to_numpy()
        nothing: Any = False if series.dtype == pl.Boolean else math.nan if floats else 0
        series = series.fill_null("" if text else nothing)
    if text:
        return Elements(np.array(series.cast(pl.Binary).to_list(), object), valid, offsets)
    values = series.to_numpy(writable=True)
    return Elements(values, valid & ~np.isnan(values) if floats else valid, offsets)
