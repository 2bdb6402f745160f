"""One type for a column that has different types in several files, such that no value changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from kerasrec.etl.sources.exact_cast import FLOAT_DIGITS
from kerasrec.etl.sources.types import integer_range, is_integer, to_name

EXACT = 2**53  # up to here float64 holds every integer
_UTC = {"UTC", "Etc/UTC", "GMT", "Etc/GMT", "Zulu", "Etc/Zulu", "UCT", "Universal", "Etc/Universal"}

Summary = dict[str, Any]
Summarize = Callable[[pl.DataType, dict[str, pl.Expr]], Summary]  # over all values of one type, in all files


def common_type(dtypes: Sequence[pl.DataType]) -> pl.DataType | None:
    """Return the smallest type that holds every value of all these types exactly; `None` where there is none.

    Integers and floats together are float64, although that does not hold all integers: see `resolve_type`.
    """
    dtypes = [dtype for dtype in dtypes if dtype != pl.Null] or [pl.Null()]
    if all(dtype == dtypes[0] for dtype in dtypes):
        return dtypes[0]
    if all(isinstance(dtype, pl.List) for dtype in dtypes):
        inner = common_type([dtype.inner for dtype in dtypes])  # type: ignore[attr-defined]
        return None if inner is None else pl.List(inner)
    if all(isinstance(dtype, pl.Date | pl.Datetime) for dtype in dtypes):
        return _datetime(dtypes)
    if all(dtype.is_numeric() or dtype == pl.Boolean for dtype in dtypes):
        return _number([dtype for dtype in dtypes if dtype != pl.Boolean], pl.Boolean in dtypes)
    return None


def _datetime(dtypes: Sequence[Any]) -> pl.DataType | None:
    zones = {getattr(dtype, "time_zone", None) for dtype in dtypes}
    if len(zones) == 1:
        return pl.Datetime("us", zones.pop())
    if None not in zones:
        return pl.Datetime("us", "UTC")  # the same points in time
    return pl.Datetime("us") if zones <= {None, *_UTC} else None  # a column without a zone is taken as UTC


def _number(dtypes: Sequence[pl.DataType], booleans: bool) -> pl.DataType | None:
    integers = [dtype for dtype in dtypes if dtype.is_integer()]
    if booleans and len(integers) < len(dtypes):
        return None
    if len(integers) == len(dtypes):
        return _integer(integers)
    floats = [dtype for dtype in dtypes if dtype.is_float()]
    if len(floats) == len(dtypes):
        return max(floats, key=lambda dtype: int(str(dtype).removeprefix("Float")))
    if floats:
        return pl.Float64()
    return pl.Decimal(38, max(dtype.scale for dtype in dtypes if isinstance(dtype, pl.Decimal)))


def _integer(dtypes: Sequence[pl.DataType]) -> pl.DataType | None:
    names = [to_name(dtype) for dtype in dtypes]
    if None in names:  # of 128 bits
        return None
    ranges = [integer_range(name) for name in names if name is not None]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    for bits in (8, 16, 32, 64):
        for name in (f"Int{bits}", f"UInt{bits}"):
            least, greatest = integer_range(name.lower())
            if least <= low and high <= greatest:
                return getattr(pl, name)()
    return None


def resolve_type(dtypes: Sequence[pl.DataType], summarize: Summarize) -> pl.DataType | None:
    """Return `common_type`, looking at the values where the types alone do not decide.

    Floats that are all integers (pandas makes floats of integers where one is null) become integers; other floats
    beside integers become float64 if that holds each of the integers.

    Args:
        summarize: computes expressions of the column over all values of one of the types.
    """
    dtypes = [dtype for dtype in dtypes if dtype != pl.Null]
    common = common_type(dtypes)
    x = pl.first()
    integers = [
        dtype for dtype in dtypes if dtype.is_integer() or (isinstance(dtype, pl.Decimal) and not dtype.scale)
    ]
    if common is None and integers and all(is_integer(to_name(dtype) or "") for dtype in dtypes):
        maxima = [summarize(dtype, {"max": x.max()})["max"] for dtype in dtypes]
        return pl.Int64() if all(maximum is None or maximum < 2**63 for maximum in maxima) else None
    floats = [dtype for dtype in dtypes if dtype.is_float()]
    if not (floats and integers):
        return common
    if common is not None and all(_are_integers(dtype, summarize) for dtype in floats):
        return resolve_type([*integers, pl.Int64()], summarize)
    for dtype in integers:
        summary = summarize(dtype, {"min": x.min(), "max": x.max()})
        if summary["max"] is not None and max(-summary["min"], summary["max"]) > EXACT:
            return None
    return common


def _are_integers(dtype: pl.DataType, summarize: Summarize) -> bool:
    x = pl.first().fill_nan(None)
    is_exact = (x.abs() < 2.0 ** FLOAT_DIGITS[str(dtype)]) & (x == x.floor())
    return bool(summarize(dtype, {"integers": is_exact.all()})["integers"])
