"""Guess what one column is for from its type and values, and say why."""

from __future__ import annotations

import re

import polars as pl

from kerasrec.cli.column_stats import ColumnStats, Moments
from kerasrec.cli.errors import CommandError
from kerasrec.cli.roles import (
    CATEGORICAL,
    CONTINUOUS,
    DROPPED,
    INDEX,
    ROW_NUMBER,
    TIME,
    Guess,
    short_type,
)
from kerasrec.cli.steps import Step
from kerasrec.etl.sources.types import is_readable

MAX_CODES = 32  # distinct integers that are taken for codes
MIN_ROWS = 20  # fewer values that all differ may do so by chance
_MIN_RUN = 200  # rows that count up, or down, one after another
_ID_NAME = re.compile(r"(^|[_\W])(id|ids|key|code|uuid|hash)$", re.IGNORECASE)
_CAMEL_ID = re.compile(r"[a-z](Id|ID)s?$")
_TIME_NAME = re.compile(r"time|date|(^|[_\W])(ts|at|created|updated)$", re.IGNORECASE)
_UNITS = {"s": 1e9, "ms": 1e12, "us": 1e15, "ns": 1e18}


def guess_column(stats: ColumnStats) -> Guess:
    """Return a column's role by its type and values."""
    if reason := _cannot_be_read(stats) or _says_nothing(stats):
        return Guess(stats, DROPPED, (), reason)
    if stats.is_list:
        return as_category(stats, f"lists of {stats.value_kind}")
    match stats.value_kind:
        case "strings":
            return _text(stats)
        case "booleans":
            return as_category(stats, "true or false")
        case "integers":
            return _integers(stats)
        case "decimals":
            return as_number(stats, "decimals")
        case "dates":
            return _times(stats, "dates" if stats.dtype == pl.Date else "times")
        case _:
            return Guess(stats, DROPPED, (), f"no operator reads {stats.value_kind}")


def _text(stats: ColumnStats) -> Guess:
    if stats.time_formats:
        return _times(stats, f"times written as {stats.time_formats[0]}")
    if stats.separator is not None:
        return _lists(stats)
    unique = stats.distinct > 0.9 * stats.count and stats.count >= MIN_ROWS
    if unique:
        return Guess(stats, DROPPED, (), stats.note or "text that hardly repeats")
    return as_category(stats, stats.note or "strings that repeat")


def _lists(stats: ColumnStats) -> Guess:
    steps = Step.of("SplitString", sep=stats.separator, strip=True), Step.of("Categorify")
    return Guess(stats, CATEGORICAL, steps, f"lists of strings, separated by {stats.separator!r}")


def as_category(stats: ColumnStats, reason: str) -> Guess:
    return Guess(stats, CATEGORICAL, (Step.of("Categorify"),), reason)


def as_number(stats: ColumnStats, reason: str) -> Guess:
    """Return a guess of numbers; outliers are clipped, and numbers with a heavy tail become logarithms."""
    steps = [Step.of("FillMissing")]
    heavy = stats.usual is not None and stats.usual.heavy_tailed
    bounds: dict[str, float] = {"min": 0} if heavy else {}
    if stats.outliers is not None:
        limits = {"min": stats.outliers.low, "max": stats.outliers.high}
        bounds |= {name: _short(limit) for name, limit in limits.items() if limit is not None}
        reason += f"; {stats.outliers}: clipped"
    if bounds:
        steps.append(Step.of("Clip", **bounds))
    if heavy:
        steps.append(Step.of("LogOp"))
        reason += "; heavy tail: log"
    return Guess(stats, CONTINUOUS, (*steps, Step.of("Normalize")), reason)


def _short(number: float) -> float:
    return int(number) if number == int(number) else number


def _times(stats: ColumnStats, reason: str) -> Guess:
    """Return a guess of times: their hour, unless they are dates, and their weekday."""
    dates = stats.dtype == pl.Date or (stats.time_formats and "%H" not in stats.time_formats[0])
    steps = [Step.of("ParseTime", format=stats.time_formats[0])] if stats.time_formats else []
    unit = {"unit": _unix_unit(stats, named=True)} if stats.value_dtype.is_numeric() else {}
    features = ["weekday"] if dates else ["hour", "weekday"]
    steps.append(Step.of("TimeFeatures", features=features, **unit))
    if len(stats.time_formats) > 1:
        reason += f" (or {stats.time_formats[1]}: day and month are ambiguous)"
    return Guess(stats, TIME, tuple(steps), reason)


def guess_time_column(stats: ColumnStats) -> Guess:
    """Return the guess of the column of --time, which need not be one that tells the hour."""
    if stats.time_formats or stats.value_kind == "dates" or (stats.integral and _unix_unit(stats, named=True)):
        guess = _guess_time(stats)
        return Guess(guess.stats, guess.role, guess.steps, f"{guess.reason}; rows are held out by it")
    if stats.is_list or stats.value_kind not in ("integers", "decimals"):
        raise CommandError(
            f"--time: column {stats.name!r} is {short_type(stats.dtype)}"
            f"{_example(stats)}; expected dates, times, numbers or text such as 2024-03-01 10:00:00"
        )
    return Guess(stats, DROPPED, (), "numbers by whose order rows are held out, but no clock")


def _guess_time(stats: ColumnStats) -> Guess:
    if stats.time_formats:
        return _times(stats, f"times written as {stats.time_formats[0]}")
    if stats.value_kind == "dates":
        return _times(stats, "dates" if stats.dtype == pl.Date else "times")
    return _times(stats, "looks like a Unix time")


def _example(stats: ColumnStats) -> str:
    return f" with values such as {stats.values[0]!r}" if stats.values else ""


def _cannot_be_read(stats: ColumnStats) -> str:
    """Return why no operator or model reads a column; "" if one does."""
    if stats.index:
        return INDEX
    if not is_readable(stats.name):
        return "a name that no operator reads; rename it"
    if stats.unreadable:
        return stats.unreadable
    if stats.value_dtype.is_nested():
        return f"no operator reads {stats.dtype}"
    if not stats.distinct:
        return "nothing but empty lists" if stats.is_list else "nothing but nulls"
    if stats.is_list and stats.value_kind not in ("strings", "integers"):
        return f"no model reads lists of {stats.value_kind}"
    return ""


def _says_nothing(stats: ColumnStats) -> str:
    """Return why a model could learn nothing from a column's values; "" if it could."""
    if stats.is_list:
        return ""
    if stats.distinct == 1 and not stats.nulls:
        return "the same value everywhere"
    return ROW_NUMBER if _numbers_rows(stats) else ""


def _numbers_rows(stats: ColumnStats) -> bool:
    """Return whether integers, also those stored as floats, only number the rows.

    They do if no two are equal, or if they count up over long runs of rows, like the row numbers of concatenated
    files. As a category such a column is useless, and as a number it is the order of the rows, which may be that
    of the target. Times with gaps between them do not number the rows.
    """
    if stats.is_list or not stats.integral or stats.count < MIN_ROWS:
        return False
    if stats.distinct == stats.count:
        return _span(stats) <= 2 * stats.count or _named_id(stats) or not _unix_time(stats)
    return (
        stats.distinct > _MIN_RUN
        and stats.monotonic_steps >= (1 - 1 / _MIN_RUN) * stats.count
        and not _unix_time(stats)
    )


def _named_id(stats: ColumnStats) -> bool:
    return bool(_ID_NAME.search(stats.name) or _CAMEL_ID.search(stats.name))


def _span(stats: ColumnStats) -> float:
    return stats.usual.high - stats.usual.low + 1 if stats.usual is not None else 1.0


def _unix_unit(stats: ColumnStats, named: bool = False) -> str:
    """Return the unit of numbers that may count from 1970, from 2001 to 2039; "" for others.

    Args:
        named: whether they are known to be times, which then begin in 1979.
    """
    usual = stats.usual or Moments(0.0, 0.0, 0.0, 0.0)
    early = 0.3 if named or _TIME_NAME.search(stats.name) else 1.0
    units = (unit for unit, start in _UNITS.items() if early * start <= usual.low and usual.high <= 2.2 * start)
    return next(units, "")


def _unix_time(stats: ColumnStats) -> bool:
    return bool(_unix_unit(stats))


def _integers(stats: ColumnStats) -> Guess:
    span = _span(stats)
    if _named_id(stats):
        return as_category(stats, "named as an id")
    if stats.distinct <= MAX_CODES:
        return as_category(stats, "few distinct integers")
    if _unix_time(stats):
        return _guess_time(stats)
    density = stats.distinct / span
    if (stats.distinct > 200 and density > 0.9) or (stats.distinct > 1000 and density > 0.5):
        return as_category(stats, "integers fill their range")
    if span > 2**31 and stats.distinct < 0.5 * stats.count:
        return as_category(stats, "hashes that repeat")
    return as_number(stats, "many integers")
