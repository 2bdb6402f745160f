"""Raw rows as the inputs of a served model: NumPy arrays by name, with nulls and lists in arrays of their own."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import polars as pl

from kerasrec.etl.sources import exact_cast
from kerasrec.etl.sources.arrow_columns import ArrowColumns, arrow_columns
from kerasrec.etl.sources.types import integer_range, is_float, is_integer, to_polars
from kerasrec.excerpts import excerpt
from kerasrec.schema import Column, Schema, SchemaError
from kerasrec.serving.wire import wire_names
from kerasrec.tensor_names import tensor_names

EXTRA = "assets.extra"  # the folder of a SavedModel that TensorFlow leaves to its writer
FILES = ("*.pb", "variables/*", "assets/*", f"{EXTRA}/*")  # of a SavedModel

RowOf: TypeAlias = Callable[[int], int]  # the row of the k-th element
# The elements of a column, and for a list column where each row's elements start.
Elements: TypeAlias = tuple[pl.Series, np.ndarray | None]
Read: TypeAlias = Callable[[Column], Elements]


class FittedWorkflow(Protocol):
    """A workflow that knows its raw columns, as `etl.Workflow` does."""

    @property
    def input_schema(self) -> Schema: ...


def rows(data: Any, schema: Schema | FittedWorkflow | str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the inputs of a SavedModel's `serving_default` signature for some raw rows.

    A tensor has no nulls and no rows of different lengths, so a column `X` of the raw data becomes

    - `X` (batch,) in the file's dtype, strings as bytes; if the column was nullable when the workflow was fitted,
      also `X__valid` (batch,) bool, false for a null;
    - for a list column `X__values` (n,) and `X__offsets` (batch + 1,) int64: row i's elements are
      `values[offsets[i]:offsets[i + 1]]`; if elements were nullable, also `X__valid` (n,) bool. A null list
      is an empty one.

    Names that are not Python identifiers are changed by `kerasrec.serving.wire.wire_names`. A date becomes int64,
    microseconds since 1970 in UTC. A number may have any type that represents the same value; NaN counts as null,
    '' does not. Columns that are not in the schema, and targets, are left out.

    Args:
        data: a Polars, pandas or Arrow frame, rows as dicts, or a dict of columns. A key that is missing from
            a row is a null; if all rows lack it but have one of a similar name, that is an error.
        schema: the raw columns: the path of an exported SavedModel, for those that its model reads; or a fitted
            `Workflow` or a `Schema`, if the model reads all features of that.

    Raises:
        SchemaError: a column is missing, or of another kind than in the schema.
        ValueError: a value does not fit, or a null if there was none when the workflow was fitted; names column,
            row and value.

    Example:

    >>> from kerasrec import Column, Schema
    >>> schema = Schema([Column("user", "string", nullable=True), Column("tags", "int32", ("list",))])
    >>> rows([{"user": "ann", "tags": [3, 1]}, {"tags": []}], schema)
    ... # doctest: +NORMALIZE_WHITESPACE
    {'user': array([b'ann', b''], dtype=object), 'user__valid': array([ True, False]),
     'tags__values': array([3, 1], dtype=int32), 'tags__offsets': array([0, 2, 2])}

    A signature takes them as they are: `served.signatures["serving_default"](**rows(...))`.
    """
    columns = list(raw_schema(schema).features)
    arrays = _arrays(columns, _dicts(data, columns) if _is_rows(data) else _frame(data))
    identifiers = wire_names(arrays)
    return {identifiers[name]: array for name, array in arrays.items()}


def _arrays(columns: Sequence[Column], read: Read) -> dict[str, np.ndarray]:
    """Return the arrays of all columns by the names of their tensors."""
    arrays: dict[str, np.ndarray] = {}
    for column, names in zip(columns, tensor_names(columns).values(), strict=True):
        elements, offsets = read(column)
        if elements.dtype.is_float():
            elements = elements.fill_nan(None)
        null = elements.is_null()
        if null.any() and not column.nullable:
            row = _row_of(offsets)(int(null.arg_true()[0]))
            raise ValueError(
                f"column {column.name!r}, row {row}: null, but there was none when the workflow was fitted"
            )
        arrays[names.values] = _to_numpy(elements)
        if names.offsets is not None and offsets is not None:
            arrays[names.offsets] = offsets
        if names.valid is not None:
            arrays[names.valid] = (~null).to_numpy()
    return arrays


def check_path(path: str | os.PathLike[str]) -> None:
    """Raise `ValueError` for a path at which TensorFlow would not find a SavedModel."""
    if any(mark in os.fspath(path) for mark in "*?[\\"):
        raise ValueError(
            f"{path}: TensorFlow reads a SavedModel's path as a pattern, in which *, ?, [ and \\ do not stand for "
            "themselves; choose a path without them"
        )


def raw_schema(source: Schema | FittedWorkflow | str | os.PathLike[str]) -> Schema:
    """Return the raw columns of a schema, a fitted workflow, or the folder of an exported SavedModel."""
    if isinstance(source, Schema):
        return source
    if isinstance(source, str | os.PathLike):
        return Schema.load(Path(source) / EXTRA)
    if isinstance(getattr(source, "input_schema", None), Schema):
        return source.input_schema
    raise TypeError(f"expected a Schema, a fitted Workflow or a SavedModel's path; got {type(source).__name__}")


# ---- frames -------------------------------------------------------------------------------------------------
def _frame(data: Any) -> Read:
    columns = arrow_columns(data) or _to_polars(data)
    names = columns.names if isinstance(columns, ArrowColumns) else columns.columns

    def read(column: Column) -> Elements:
        if column.name not in names:
            raise SchemaError(f"no column {column.name!r}; the frame has: {', '.join(names)}")
        series = columns[column.name].alias("")  # Polars' own methods of a series take its name for a pattern
        if isinstance(series.dtype, pl.Array):
            series = series.arr.to_list()
        if not column.is_list:
            return _cast(series, column, _row_of(None)), None
        if not isinstance(series.dtype, pl.List):
            if len(_cast(series, column, _row_of(None)).drop_nulls()):
                raise _mismatch(column, series.dtype)
            series = pl.Series(series.name, [None] * len(series), pl.List(pl.Null))
        offsets = _offsets(series.list.len().fill_null(0).to_numpy())
        elements = series.filter(series.list.len().fill_null(0) > 0).explode()
        return _cast(elements, column, _row_of(offsets)), offsets

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
        raise _misfit(column, row_of(wrong), series[wrong])
    raise _mismatch(column, given)


# ---- dicts --------------------------------------------------------------------------------------------------
def _is_rows(data: Any) -> bool:
    return isinstance(data, Sequence | Iterator) and not isinstance(data, str | bytes)


def _dicts(data: Iterable[Any], columns: Sequence[Column]) -> Read:
    records = list(data)
    for row, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise TypeError(f"row {row}: expected a dict; got {type(record).__name__}")
    keys = dict.fromkeys(key for record in records for key in record)
    if keys and columns and not any(column.name in keys for column in columns):
        names = ", ".join(column.name for column in columns)
        raise SchemaError(f"the rows have none of the columns {names}; they have: {', '.join(map(str, keys))}")

    def read(column: Column) -> Elements:
        if column.name not in keys and (near := difflib.get_close_matches(column.name, map(str, keys), 1, 0.8)):
            raise SchemaError(
                f"no row has {column.name!r}, but {near[0]!r}: rename that key, or pass None for nulls"
            )
        values = [record.get(column.name) for record in records]
        if not column.is_list:
            if not column.nullable:
                for row, record in enumerate(records):
                    if column.name not in record:
                        raise SchemaError(f"column {column.name!r} is missing from row {row}")
            return _from_python(values, column, _row_of(None)), None
        lists = [_elements(value, column, row) for row, value in enumerate(values)]
        offsets = _offsets([len(elements) for elements in lists])
        flat = [value for elements in lists for value in elements]
        return _from_python(flat, column, _row_of(offsets)), offsets

    return read


def _elements(value: Any, column: Column, row: int) -> Any:
    if _is_null(value):
        return ()
    if isinstance(value, list | tuple | np.ndarray | pl.Series):
        return value
    raise ValueError(f"column {column.name!r}, row {row}: expected a list; got {excerpt(value)}")


def _from_python(values: list[Any], column: Column, row_of: RowOf) -> pl.Series:
    dtype, integers = column.dtype, is_integer(column.dtype)
    low, high = integer_range(dtype) if integers else (0, 0)
    converted: list[Any] = []
    for k, value in enumerate(values):
        if _is_null(value):
            converted.append(None)
            continue
        if dtype == "string":
            fits = isinstance(value, str)
        elif dtype == "datetime":
            fits = isinstance(value, date | np.datetime64)  # datetime is a subclass of date
        elif dtype == "bool":
            fits = isinstance(value, bool | np.bool_)
        elif isinstance(value, bool | np.bool_):
            fits = False
        elif integers:
            fits = exact_cast.is_exact_integer(value) and low <= int(value) <= high
        else:
            fits = isinstance(value, Real | Decimal)
        if not fits:
            raise _misfit(column, row_of(k), value)
        converted.append(int(value) if integers else float(value) if is_float(dtype) else value)
    if dtype == "datetime":
        converted = [value and _utc(value) for value in converted]
    return pl.Series(converted, dtype=to_polars(dtype))


def _utc(value: Any) -> datetime:
    """Return a date, or a time in any time zone, as a time in UTC."""
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


def _is_null(value: Any) -> bool:
    """Return whether a value is None, NaN, or pandas' NA or NaT."""
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    if isinstance(value, np.datetime64):
        return bool(np.isnat(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")


# ---- for both ----------------------------------------------------------------------------------------------
def _offsets(lengths: Any) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int64)


def _row_of(offsets: np.ndarray | None) -> RowOf:
    if offsets is None:
        return lambda k: k
    return lambda k: int(np.searchsorted(offsets, k, side="right")) - 1


def _to_numpy(series: pl.Series) -> np.ndarray:
    """Return an array with '', 0, false or NaN for nulls; the model does not read what is there."""
    if series.dtype == pl.Datetime:
        series = series.to_physical()
    if series.dtype == pl.String:
        return np.array(series.fill_null("").cast(pl.Binary).to_list(), dtype=object)
    nothing: Any = False if series.dtype == pl.Boolean else math.nan if series.dtype.is_float() else 0
    return series.fill_null(nothing).to_numpy(writable=True)


def _mismatch(column: Column, given: Any) -> SchemaError:
    kind = f"a list of {column.dtype}" if column.is_list else column.dtype
    return SchemaError(f"column {column.name!r} is {given}, but the workflow was fitted on {kind}")


def _misfit(column: Column, row: int, value: Any) -> ValueError:
    return ValueError(f"column {column.name!r}, row {row}: {exact_cast.misfit(value, column.dtype)}")
