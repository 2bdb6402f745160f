"""Which format the times of a column are in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from kerasrec.etl.lookup.time_format import ISO, compiled, parse
from kerasrec.etl.lookup.unix_time import from_unix, unix_text
from kerasrec.etl.sources.types import is_float, is_integer

YEAR = 365.2425 * 86_400e6  # microseconds


@dataclass(frozen=True)
class Encoding:
    """How times are written: in a format of `strptime`, or as units from 1970."""

    format: str | None = None
    unit: str | None = None

    def parse(self, values: pl.Series) -> pl.Series:
        """Return microseconds since 1970; null for a value that is not written so."""
        text = values.dtype == pl.String
        if self.unit is not None:
            return from_unix(unix_text(values) if text else values, self.unit)
        assert self.format is not None
        return parse(values if text else whole_numbers(values).cast(pl.String), self.format)

    def __str__(self) -> str:
        return f"format={self.format!r}" if self.unit is None else f"unit={self.unit!r}"


def whole_numbers(values: pl.Series) -> pl.Series:
    """Return numbers as integers; null for a float that is none."""
    if not values.dtype.is_float():
        return values
    exact = (values == values.floor()) & (values.abs() < 2.0**53)
    return values.set(~exact.fill_null(False), None).cast(pl.Int64)


# In this order if several fit equally well, except for two that differ in the order of day and month.
_DATES = ("%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y")
_OTHERS = (
    *("%d %b %Y", "%b %d, %Y", "%d-%b-%Y", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p"),
    *("%a, %d %b %Y %H:%M:%S %z", "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%d/%b/%Y:%H:%M:%S %z"),
)
_COMPACT = ("%Y%m%d", "%Y%m%d%H%M%S")
UNITS = tuple(Encoding(unit=unit) for unit in ("s", "ms", "us", "ns"))
OF_NUMBERS = (*map(Encoding, _COMPACT), *UNITS)
OF_TEXT = (
    *map(Encoding, (ISO, *_COMPACT)),
    *(Encoding(date + time) for date in _DATES for time in ("", " %H:%M:%S", " %H:%M")),
    *map(Encoding, _OTHERS),
    *UNITS,
)


def candidates(dtype: str) -> tuple[Encoding, ...]:
    """Return the encodings that times of a schema's `dtype` may have."""
    return OF_NUMBERS if is_integer(dtype) or is_float(dtype) else OF_TEXT


def plausible(values: pl.Series, encoding: Encoding) -> int:
    """Return how many values are times in `encoding` between 1900 and 2100; of a unit, after 1971, or any date
    written as digits would be one."""
    if encoding.format and values.dtype == pl.String:  # without the groups, a match takes a tenth of the time
        values = values.filter(values.str.contains(compiled(encoding.format).pattern))
    times = encoding.parse(values).drop_nulls().to_numpy()
    first = (1971 if encoding.unit else 1900) - 1970
    return int(np.sum((times >= first * YEAR) & (times < 131 * YEAR)))


def best(counts: list[int], encodings: tuple[Encoding, ...]) -> Encoding | None:
    """Return the encoding with the greatest count; None where all are 0.

    Raises:
        ValueError: two fit equally well that differ in the order of day and month.
    """
    if not any(counts):
        return None
    first = encodings[int(np.argmax(counts))]
    swapped = (first.format or "").replace("%d", "%_").replace("%m", "%d").replace("%_", "%m")
    other = Encoding(swapped)
    if other != first and other in encodings and counts[encodings.index(other)] == max(counts):
        raise ValueError(f"fits both {first} and {other}")
    return first
