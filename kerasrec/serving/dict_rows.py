"""Columns of rows that are dicts as NumPy arrays; of one dict in a millisecond, so without making a frame."""

from __future__ import annotations

import calendar
import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from itertools import chain
from numbers import Real
from typing import Any

import numpy as np
import polars as pl

from kerasrec.etl.sources import exact_cast
from kerasrec.etl.sources.types import integer_range, is_float, is_integer
from kerasrec.excerpts import excerpt
from kerasrec.schema import Column, SchemaError
from kerasrec.serving.elements import Elements, Read, list_offsets, misfit, row_of
from kerasrec.tensor_names import tensor_type

Convert = Callable[[Any], Any]


def dict_reader(data: Iterable[Any], columns: Sequence[Column]) -> Read:
    """Return a function that reads a column of rows.

    Raises:
        TypeError: a row is not a dict.
        SchemaError: the rows have none of the columns.
    """
    records = list(data)
    if not set(map(type, records)) <= {dict}:
        for row, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise TypeError(f"row {row}: expected a dict; got {type(record).__name__}")
    names_read = dict.fromkeys(column.name for column in columns)
    # The keys of the other rows matter only where the first one lacks a column.
    keys = dict.fromkeys(chain.from_iterable(records[:1]))
    if not names_read.keys() <= keys.keys():
        keys = dict.fromkeys(chain.from_iterable(records))
    if keys and columns and names_read.keys().isdisjoint(keys):
        names = ", ".join(column.name for column in columns)
        raise SchemaError(f"the rows have none of the columns {names}; they have: {', '.join(map(str, keys))}")
    others = [str(key) for key in keys if key not in names_read]
    # Row by row, so that the memory of each dict is read once.
    by_row = [list(map(record.get, names_read)) for record in records]
    by_column = list(zip(*by_row, strict=True)) if records else [()] * len(names_read)
    values_of: dict[str, tuple[Any, ...]] = dict(zip(names_read, by_column, strict=True))

    def read(column: Column) -> Elements:
        name = column.name
        if name not in keys and (near := difflib.get_close_matches(name, others, 1, 0.8)):
            raise SchemaError(f"no row has {name!r}, but {near[0]!r}: rename that key, or pass None for nulls")
        values = values_of[name]
        if column.is_list:
            plain = set(map(type, values)) <= {list}
            lists = values if plain else [_list(value, column, row) for row, value in enumerate(values)]
            return _elements(list(chain.from_iterable(lists)), column, list_offsets(list(map(len, lists))))
        elements = _elements(values, column, None)
        if not column.nullable and not elements.valid.all():
            for row, record in enumerate(records):
                if name not in record:
                    raise SchemaError(f"column {name!r} is missing from row {row}")
        return elements

    return read


def _list(value: Any, column: Column, row: int) -> Any:
    if _is_null(value):
        return ()
    if isinstance(value, list | tuple | np.ndarray | pl.Series):
        return value
    raise ValueError(f"column {column.name!r}, row {row}: expected a list; got {excerpt(value)}")


def _elements(values: Sequence[Any], column: Column, offsets: np.ndarray | None) -> Elements:
    return _plain_elements(values, column, offsets) or _any_elements(values, column, offsets)


def _plain_elements(values: Sequence[Any], column: Column, offsets: np.ndarray | None) -> Elements | None:
    """Return a column of Python's own strings and numbers, several times as fast, or None for others."""
    types, dtype = set(map(type, values)), tensor_type(column.dtype)
    valid = np.ones(len(values), bool)
    if type(None) in types:
        types.remove(type(None))
        null: Any = "" if dtype == "string" else math.nan if is_float(column.dtype) else 0
        valid = np.array([value is not None for value in values], bool)
        values = [null if value is None else value for value in values]
    if types <= {str} and column.dtype == "string":
        with suppress(UnicodeEncodeError):
            return Elements(np.array(list(map(str.encode, values)), object), valid, offsets)
    if types <= {int} and is_integer(column.dtype):
        low, high = integer_range(column.dtype)
        with suppress(OverflowError):
            integers = np.array(values, np.int64)
            if not len(integers) or low <= int(integers.min()) <= int(integers.max()) <= high:
                return Elements(integers.astype(dtype, copy=False), valid, offsets)
    if types <= {int, float} and is_float(column.dtype):
        with suppress(OverflowError), np.errstate(over="ignore"):
            floats = np.array(values, np.float64)
            return Elements(floats.astype(dtype, copy=False), valid & ~np.isnan(floats), offsets)
    return None


def _any_elements(values: Sequence[Any], column: Column, offsets: np.ndarray | None) -> Elements:
    convert, dtype = _converter(column.dtype), tensor_type(column.dtype)
    null: Any = b"" if dtype == "string" else math.nan if is_float(dtype) else 0
    valid = np.array([not _is_null(value) for value in values], bool)
    converted: list[Any] = []
    for k, value in enumerate(values):
        try:
            converted.append(convert(value) if valid[k] else null)
        except ValueError:
            raise misfit(column, row_of(offsets)(k), value) from None
    with np.errstate(over="ignore"):  # a number too large for a narrow float is infinite
        return Elements(np.array(converted, object if dtype == "string" else dtype), valid, offsets)


# ---- values -------------------------------------------------------------------------------------------------
def _converter(dtype: str) -> Convert:
    """Return a function that converts a value of a schema's `dtype`, and raises `ValueError` for any other."""
    if is_integer(dtype):
        return partial(_integer, *integer_range(dtype))
    if is_float(dtype):
        return _number
    return {"string": _text, "datetime": _microseconds, "bool": _boolean}[dtype]


def _integer(low: int, high: int, value: Any) -> int:
    if isinstance(value, bool | np.bool_) or not exact_cast.is_exact_integer(value) or not low <= value <= high:
        raise ValueError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real | Decimal):
        raise ValueError
    try:
        return float(value)
    except OverflowError:  # of an integer of more than 308 digits
        raise ValueError from None


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError
    return value.encode()  # an error for half a character, which JSON can express


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise ValueError
    return bool(value)


def _microseconds(value: Any) -> int:
    """Return a date, or a time in any time zone, as microseconds since 1970 in UTC."""
    if isinstance(value, np.datetime64):
        return int(value.astype("datetime64[us]").astype(np.int64))
    if isinstance(value, str):  # as JSON has it
        value = datetime.fromisoformat(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _integer(*integer_range("int64"), value)
    if not isinstance(value, date):  # datetime is a subclass of date
        raise ValueError
    if not isinstance(value, datetime):
        return calendar.timegm(value.timetuple()) * 1_000_000
    if value.tzinfo is not None:
        value = value.astimezone(UTC)
    return calendar.timegm(value.timetuple()) * 1_000_000 + value.microsecond


def _is_null(value: Any) -> bool:
    """Return whether a value is None, NaN, or pandas' NA or NaT."""
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    if isinstance(value, np.datetime64):
        return bool(np.isnat(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")
