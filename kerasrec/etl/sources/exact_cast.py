"""Casts that change no value, decided by a column's values rather than its type.

pandas turns integers into floats where one is missing, Snowflake writes integers as decimals, and a column of
nulls only may have any type: all of these can be cast to integers without a change.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from numbers import Integral, Real
from typing import Any

import polars as pl

from kerasrec.etl.sources.types import (
    column_type,
    integer_range,
    is_float,
    is_integer,
    plain_type,
    to_name,
    to_polars,
)
from kerasrec.excerpts import excerpt
from kerasrec.schema import Column

FLOAT_DIGITS = {"Float16": 11, "Float32": 24, "Float64": 53}  # bits: all integers below 2**bits differ


def may_hold(source: Any, dtype: str) -> bool:
    """Return whether some values of the Polars type `source` are values of a schema's `dtype`, if only nulls:
    pandas writes a column without values as floats or strings."""
    return source.is_float() or source in (pl.Null, pl.String) or same_kind(source, dtype)


def holds_all(source: Any, dtype: str) -> bool:
    """Return whether all values of the Polars type `source` are values of `dtype` (floats up to rounding)."""
    if source == pl.Null:
        return True
    if not same_kind(source, dtype):
        return False
    if not is_integer(dtype):
        return True
    low, high = integer_range(dtype)
    if isinstance(source, pl.Decimal):
        return not source.scale and low <= -(10**source.precision) and 10**source.precision <= high
    least, greatest = integer_range(to_name(source) or "")
    return low <= least and greatest <= high


def same_kind(source: Any, dtype: str) -> bool:
    """Return whether both types are integers, numbers, strings, dates or booleans."""
    name = to_name(plain_type(source))
    if is_integer(dtype):
        return isinstance(source, pl.Decimal) or (name is not None and is_integer(name))
    if is_float(dtype):
        return name is not None and (is_float(name) or is_integer(name))
    return name == dtype


def cast(series: pl.Series, dtype: str) -> tuple[pl.Series, int | None]:
    """Cast elements to `dtype`; return them and the position of the first that does not fit. NaN is null."""
    source, target = series.dtype, to_polars(dtype)
    if source.is_float():
        series = series.fill_nan(None)
    if source == target:
        return series, None
    if not same_kind(source, dtype) and not (source.is_float() and is_integer(dtype)):
        return pl.Series(series.name, [None], target).new_from_index(0, len(series)), _first(series.is_not_null())
    if source.is_float() and not target.is_float():
        # A larger float stands for several integers.
        series = series.set(series.abs() >= 2.0 ** FLOAT_DIGITS[str(source)], float("inf"))
    result = series.cast(target, strict=False)
    misfits = result.is_null() & series.is_not_null()
    if is_integer(dtype) and (source.is_float() or isinstance(source, pl.Decimal)):
        misfits |= (result.cast(source) != series).fill_null(False)  # a fraction was cut off
    return result, _first(misfits)


def is_exact_integer(value: Any) -> bool:
    """Return whether a Python number is an integer, and small enough for its type to stand for one integer
    only."""
    if isinstance(value, Integral):
        return True
    if isinstance(value, Decimal):
        return value.is_finite() and value == int(value)
    if not isinstance(value, Real) or not float(value).is_integer():
        return False
    digits = FLOAT_DIGITS.get(type(value).__name__.capitalize(), FLOAT_DIGITS["Float64"])
    return abs(value) < 2**digits


def _first(mask: pl.Series) -> int | None:
    return int(mask.arg_true()[0]) if mask.any() else None


def misfit(value: Any, dtype: str) -> str:
    """Say why `value` is not a value of `dtype`."""
    if isinstance(value, float) and value.is_integer() and is_integer(dtype):
        return f"{value!r} is too large a float: it stands for several values of {dtype}"
    return f"{excerpt(value)} is not a value of {dtype}"


def expression(x: pl.Expr, number: pl.Expr, source: pl.DataType, column: Column, fail: Misfit) -> pl.Expr:
    """Return the cast of a column of Polars type `source` to `column`'s dtype.

    Args:
        number: the row numbers.
        fail: called with the number and the value of a row that does not fit; raises.
    """
    function = partial(_lists if isinstance(source, pl.List) else _scalars, column=column, fail=fail)
    # Together with the row numbers, so that an error can name the row.
    return pl.struct(x.alias("x"), number.alias("row")).map_batches(
        function, return_dtype=column_type(column), is_elementwise=True
    )


Misfit = Callable[[int, Any], None]


def _scalars(rows: pl.Series, column: Column, fail: Misfit) -> pl.Series:
    series = rows.struct.field("x")
    result, misfit_at = cast(series, column.dtype)
    if misfit_at is None and column.is_list:  # the column has nulls only
        misfit_at, result = _first(result.is_not_null()), result.clear(len(result)).cast(pl.List(result.dtype))
    if misfit_at is not None:
        fail(rows.struct.field("row")[misfit_at], series[misfit_at])
    return result


def _lists(rows: pl.Series, column: Column, fail: Misfit) -> pl.Series:
    frame = rows.struct.unnest().with_row_index("list")
    elements = frame.filter(pl.col("x").list.len() > 0).explode("x")
    result, misfit_at = cast(elements["x"], column.dtype)
    if misfit_at is not None:
        fail(elements["row"][misfit_at], elements["x"][misfit_at])
    lists = elements.select("list", result.alias("cast")).group_by("list", maintain_order=True).agg("cast")
    joined = frame.join(lists, on="list", how="left", maintain_order="left")
    empty = pl.when(pl.col("x").is_not_null()).then(pl.lit([], dtype=column_type(column)))
    return joined.select(pl.col("cast").fill_null(empty)).to_series()
