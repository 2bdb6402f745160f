"""Outliers among numbers, by robust statistics: values that no honest tail of the others reaches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

MIN_VALUES = 20  # fewer say nothing about a tail
REACH = 3.0  # how many times as far as from the median to the 99th percentile a value may be beyond the latter
HEAVY = 4.5  # a normal distribution's tail is 3.5 times as long as its quarter, an exponential one's 5.6 times
MAX_SHARE = 0.01  # of outliers that are not one value again and again
EXAMPLES = 3


@dataclass(frozen=True)
class Outliers:
    """Values far outside of the others.

    Args:
        low, high: the least and the greatest of the other values; None on a side without outliers.
        count: how many outliers there are.
        values: some of them, the most frequent first.
        sentinels: those among them that stand for something else, such as -999 for "unknown".
    """

    low: float | None
    high: float | None
    count: int
    values: tuple[float, ...]
    sentinels: tuple[float, ...] = ()

    def __str__(self) -> str:
        listed = ", ".join(f"{value:.15g}" for value in self.sentinels or self.values)
        kind = "looks like a mark for unknown" if self.sentinels else "far outside of the others"
        return f"{self.count:,} {'outlier' if self.count == 1 else 'outliers'} ({listed}: {kind})"


def find_outliers(values: pl.Series) -> Outliers | None:
    """Return the outliers among numbers, or None.

    A value is one if its distance from the 99th percentile is more than three times that of this percentile from
    the median; downwards, with the first percentile. Where the distribution has a heavy tail, both are measured on
    a logarithmic scale, so that the large values of an income or a count are not outliers. Values that occur again
    and again and look like a mark, -999 or 9999999, are taken out before the percentiles, however many there are.
    """
    x = values.drop_nulls().cast(pl.Float64).to_numpy()
    x = x[~np.isnan(x)]
    if len(x) < MIN_VALUES:
        return None
    marks = _sentinels(x)
    rest = x[~np.isin(x, marks)]
    low, high = _bounds(rest)
    far = (rest < low) | (rest > high)
    if far.mean() > MAX_SHARE:
        far = np.zeros(len(rest), bool)
    usual = rest[~far]
    outside = np.concatenate([x[np.isin(x, marks)], rest[far]])
    if not len(outside) or not len(usual):
        return None
    distinct, counts = np.unique(outside, return_counts=True)
    order = np.lexsort((distinct, -counts))[:EXAMPLES]
    least, greatest = float(usual.min()), float(usual.max())
    return Outliers(
        least if outside.min() < least else None,
        greatest if outside.max() > greatest else None,
        len(outside),
        tuple(float(value) for value in distinct[order]),
        tuple(float(value) for value in distinct[order] if value in marks),
    )


def _bounds(x: NDArray[np.float64]) -> tuple[float, float]:
    """Return how low and how high values may honestly be."""
    finite = x[np.isfinite(x)]
    if len(finite) < MIN_VALUES:
        return -np.inf, np.inf
    low, first, middle, third, high = np.quantile(finite, (0.01, 0.25, 0.5, 0.75, 0.99))
    return -_bound(-middle, -first, -low), _bound(middle, third, high)


def _bound(middle: float, third: float, high: float) -> float:
    """Return how high values may be: the upper tail, by the median, the upper quartile and the 99th percentile."""
    tail, quarter = high - middle, third - middle
    if tail <= 0:
        return float("inf")  # nearly all are one value: any other is as far away
    if quarter > 0 and tail <= HEAVY * quarter:
        return float(high + REACH * tail)
    scale = quarter if quarter > 0 else tail / HEAVY
    with np.errstate(over="ignore"):
        return float(middle + scale * np.sinh((1 + REACH) * np.arcsinh(tail / scale)))


def _sentinels(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the marks among values: the least and the greatest, if they look like one and are far from the
    others."""
    marks: list[float] = []
    for _ in range(4):
        rest = x[~np.isin(x, marks)]
        if len(rest) < MIN_VALUES:
            break
        found = [value for value in (float(rest.min()), float(rest.max())) if _is_mark(rest, value)]
        if not found:
            break
        marks += found
    return np.array(marks)


def _is_mark(x: NDArray[np.float64], value: float) -> bool:
    others = x[x != value]
    if not _looks_like_mark(value) or len(others) < MIN_VALUES:
        return False
    low, high = _bounds(others)
    if low <= value <= high and others.min() >= 0 > value:
        return value <= -9 and others.max() < 10 * -value  # such as -999 beside ages, from 0 up
    return not low <= value <= high


def _looks_like_mark(value: float) -> bool:
    """Return whether a value is -9, -99, 999, 9999999 and so on, a power of ten, or the end of a type's range."""
    if not np.isfinite(value) or value != round(value):
        return False
    size = abs(int(value))
    digits = set(str(size))
    if size in (2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1):
        return True
    if digits in ({"9"}, {"8"}) and (size >= 99 or value < 0):
        return True
    return size >= 1000 and str(size).strip("0") == "1"
