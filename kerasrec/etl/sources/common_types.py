"""One type for a column that several files hold in different ones: types are compared by what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from kerasrec.etl.sources.exact_cast import FLOAT_DIGITS
from kerasrec.etl.sources.types import integer_range, is_integer, to_name

EXACT = 2**53  # up to here float64 holds every integer
_UTC = {"UTC", "Etc/UTC", "GMT", "Etc/GMT", "Zulu", "Etc/Zulu", "UCT", "Universal", "Etc/Universal"}

Facts = dict[str, Any]
Look = Callable[[pl.DataType, dict[str, pl.Expr]], Facts]  # what holds for all values of one type, in all files


def common_type(kinds: Sequence[pl.DataType]) -> pl.DataType | None:
    """Return the least type that holds every value of all these types exactly, `None` where none is known to.

    Integers and floats together are float64, which does not hold all of them: see `settle`.
    """
    kinds = [kind for kind in kinds if kind != pl.Null] or [pl.Null()]
    if all(kind == kinds[0] for kind in kinds):
        return kinds[0]
    if all(isinstance(kind, pl.List) for kind in kinds):
        inner = common_type([kind.inner for kind in kinds])  # type: ignore[attr-defined]
        return None if inner is None else pl.List(inner)
    if all(isinstance(kind, pl.Date | pl.Datetime) for kind in kinds):
        return _moment(kinds)
    if all(kind.is_numeric() or kind == pl.Boolean for kind in kinds):
        return _number([kind for kind in kinds if kind != pl.Boolean], pl.Boolean in kinds)
    return None


def _moment(kinds: Sequence[Any]) -> pl.DataType | None:
    zones = {getattr(kind, "time_zone", None) for kind in kinds}
    if len(zones) == 1:
        return pl.Datetime("us", zones.pop())
    if None not in zones:
        return pl.Datetime("us", "UTC")  # the same moments
    return pl.Datetime("us") if zones <= {None, *_UTC} else None  # a column without a zone is one in UTC


def _number(kinds: Sequence[pl.DataType], booleans: bool) -> pl.DataType | None:
    integers = [kind for kind in kinds if kind.is_integer()]
    if booleans and len(integers) < len(kinds):
        return None
    if len(integers) == len(kinds):
        return _integer(integers)
    floats = [kind for kind in kinds if kind.is_float()]
    if len(floats) == len(kinds):
        return max(floats, key=lambda kind: int(str(kind).removeprefix("Float")))
    if floats:
        return pl.Float64()
    return pl.Decimal(38, max(kind.scale for kind in kinds if isinstance(kind, pl.Decimal)))


def _integer(kinds: Sequence[pl.DataType]) -> pl.DataType | None:
    names = [to_name(kind) for kind in kinds]
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


def settle(kinds: Sequence[pl.DataType], look: Look) -> pl.DataType | None:
    """Return `common_type`, by the values as well where the types alone do not tell.

    Floats that are all integers, as pandas makes of integers beside a null, are integers again; other floats
    beside integers are float64 where that holds each of the integers.

    Args:
        look: computes expressions of the column over all values of one of the types.
    """
    kinds = [kind for kind in kinds if kind != pl.Null]
    common = common_type(kinds)
    x = pl.first()
    integers = [kind for kind in kinds if kind.is_integer() or (isinstance(kind, pl.Decimal) and not kind.scale)]
    if common is None and integers and all(is_integer(to_name(kind) or "") for kind in kinds):
        highest = [look(kind, {"high": x.max()})["high"] for kind in kinds]
        return pl.Int64() if all(high is None or high < 2**63 for high in highest) else None
    floats = [kind for kind in kinds if kind.is_float()]
    if not (floats and integers):
        return common
    if common is not None and all(_are_integers(kind, look) for kind in floats):
        return settle([*integers, pl.Int64()], look)
    for kind in integers:
        facts = look(kind, {"low": x.min(), "high": x.max()})
        if facts["high"] is not None and max(-facts["low"], facts["high"]) > EXACT:
            return None
    return common


def _are_integers(kind: pl.DataType, look: Look) -> bool:
    x = pl.first().fill_nan(None)
    is_exact = (x.abs() < 2.0 ** FLOAT_DIGITS[str(kind)]) & (x == x.floor())
    return bool(look(kind, {"integers": is_exact.all()})["integers"])
