"""Casts that keep every value: by what a column holds, not by what its type is called.

pandas turns integers into floats where one is missing, Snowflake writes integers as decimals, and a column without
any value has whatever type its writer likes: all of these hold the values that they are wanted as.
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

FLOAT_DIGITS = {"Float16": 11, "Float32": 24, "Float64": 53}  # bits: integers below 2**bits are all told apart


def may_hold(given: Any, dtype: str) -> bool:
    """Whether some values of the Polars type `given` are values of a schema's `dtype`, if only nulls: what has no
    other value is of floats or strings wherever it was made by pandas."""
    return given.is_float() or given in (pl.Null, pl.String) or same_kind(given, dtype)


def holds_all(given: Any, dtype: str) -> bool:
    """Whether all values of the Polars type `given` are values of `dtype` (of floats, up to their rounding)."""
    if given == pl.Null:
        return True
    if not same_kind(given, dtype):
        return False
    if not is_integer(dtype):
        return True
    low, high = integer_range(dtype)
    if isinstance(given, pl.Decimal):
        return not given.scale and low <= -(10**given.precision) and 10**given.precision <= high
    least, greatest = integer_range(to_name(given) or "")
    return low <= least and greatest <= high


def same_kind(given: Any, dtype: str) -> bool:
    """Whether both are integers, numbers, strings, dates or booleans."""
    name = to_name(plain_type(given))
    if is_integer(dtype):
        return isinstance(given, pl.Decimal) or (name is not None and is_integer(name))
    if is_float(dtype):
        return name is not None and (is_float(name) or is_integer(name))
    return name == dtype


def cast(series: pl.Series, dtype: str) -> tuple[pl.Series, int | None]:
    """Elements as values of `dtype`, and the place of the first one that is none; NaN is null."""
    given, wanted = series.dtype, to_polars(dtype)
    if given.is_float():
        series = series.fill_nan(None)
    if given == wanted:
        return series, None
    if not same_kind(given, dtype) and not (given.is_float() and is_integer(dtype)):
        return pl.Series(series.name, [None], wanted).new_from_index(0, len(series)), _first(series.is_not_null())
    if given.is_float() and not wanted.is_float():
        # Which integer a larger float stood for cannot be known.
        series = series.set(series.abs() >= 2.0 ** FLOAT_DIGITS[str(given)], float("inf"))
    made = series.cast(wanted, strict=False)
    wrong = made.is_null() & series.is_not_null()
    if is_integer(dtype) and (given.is_float() or isinstance(given, pl.Decimal)):
        wrong |= (made.cast(given) != series).fill_null(False)  # a fraction was cut off
    return made, _first(wrong)


def is_whole(value: Any) -> bool:
    """Whether a Python number is an integer, and surely the one that was meant."""
    if isinstance(value, Integral):
        return True
    if isinstance(value, Decimal):
        return value.is_finite() and value == int(value)
    if not isinstance(value, Real) or not float(value).is_integer():
        return False
    digits = FLOAT_DIGITS.get(type(value).__name__.capitalize(), FLOAT_DIGITS["Float64"])
    return abs(value) < 2**digits


def _first(wrong: pl.Series) -> int | None:
    return int(wrong.arg_true()[0]) if wrong.any() else None


def misfit(value: Any, dtype: str) -> str:
    """Words for why `value` is not one of `dtype`."""
    if isinstance(value, float) and value.is_integer() and is_integer(dtype):
        return f"{value!r} is a float so large that several integers of {dtype} become it"
    return f"{excerpt(value)} is not a value of {dtype}"


def expression(x: pl.Expr, number: pl.Expr, given: pl.DataType, column: Column, fail: Misfit) -> pl.Expr:
    """A column of Polars type `given` as values of `column`'s dtype.

    Args:
        number: the rows' numbers.
        fail: raises for the row of that number, which holds that value.
    """
    function = partial(_lists if isinstance(given, pl.List) else _scalars, column=column, fail=fail)
    # Not the column alone, so that the row that is wrong can be named.
    return pl.struct(x.alias("x"), number.alias("row")).map_batches(
        function, return_dtype=column_type(column), is_elementwise=True
    )


Misfit = Callable[[int, Any], None]


def _scalars(rows: pl.Series, column: Column, fail: Misfit) -> pl.Series:
    series = rows.struct.field("x")
    made, wrong = cast(series, column.dtype)
    if wrong is None and column.is_list:  # of nothing but nulls
        wrong, made = _first(made.is_not_null()), made.clear(len(made)).cast(pl.List(made.dtype))
    if wrong is not None:
        fail(rows.struct.field("row")[wrong], series[wrong])
    return made


def _lists(rows: pl.Series, column: Column, fail: Misfit) -> pl.Series:
    frame = rows.struct.unnest().with_row_index("at")
    flat = frame.filter(pl.col("x").list.len() > 0).explode("x")
    made, wrong = cast(flat["x"], column.dtype)
    if wrong is not None:
        fail(flat["row"][wrong], flat["x"][wrong])
    lists = flat.select("at", made.alias("made")).group_by("at", maintain_order=True).agg("made")
    found = frame.join(lists, on="at", how="left", maintain_order="left")
    empty = pl.when(pl.col("x").is_not_null()).then(pl.lit([], dtype=column_type(column)))
    return found.select(pl.col("made").fill_null(empty)).to_series()
