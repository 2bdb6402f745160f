"""How often rows are looked up, and so how many distinct rows a batch has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

EXPONENT = 1.05  # of the power law that is assumed for tables of unknown frequencies
_EXACT = 1024  # rows summed one by one; for the others an integral is exact to 1e-7


@lru_cache(maxsize=1024)
def power_law_head(rows: int, exponent: float = EXPONENT) -> tuple[float, ...]:
    """Return the share of lookups of the first 1, 2, 4, ... rows, if row r has (r + 1) ** -exponent of them.

    >>> [round(share, 3) for share in power_law_head(4, 1.0)]
    [0.48, 0.72, 1.0]
    """
    exact = np.cumsum(np.arange(1, min(rows, _EXACT) + 1, dtype=np.float64) ** -exponent)
    power = 1.0 - exponent

    def primitive(x: float) -> float:
        return float(np.log(x)) if power == 0 else x**power / power

    def total(first: int) -> float:
        if first <= len(exact):
            return float(exact[first - 1])
        return float(exact[-1]) + primitive(first + 0.5) - primitive(len(exact) + 0.5)

    ends = [min(1 << octave, rows) for octave in range((rows - 1).bit_length() + 1)]
    return tuple(total(end) / total(rows) for end in ends)


def head_of_counts(counts: NDArray[np.integer]) -> tuple[float, ...] | None:
    """Return the same for rows that were looked up so many times; None if none was."""
    totals = np.cumsum(counts, dtype=np.int64)
    if not len(totals) or not totals[-1]:
        return None
    ends = np.minimum(1 << np.arange((len(totals) - 1).bit_length() + 1), len(totals))
    return tuple(round(float(share), 9) for share in totals[ends - 1] / totals[-1])


@dataclass(frozen=True)
class Frequencies:
    """How lookups are distributed over a table's rows: a share for the first 1, 2, 4, ... rows, evenly in between.

    What the last share leaves is distributed evenly over the other rows. For power laws with exponents 0.6 to 1.2
    and 10**3 to 10**8 rows, numbers of distinct rows are within 1.5% of drawn ones.
    """

    rows: int
    lookup_cdf: tuple[float, ...]

    def distinct(self, draws: float, first: int | None = None) -> float:
        """Return the expected number of distinct rows (among the first `first`) in `draws` independent lookups:
        the sum over rows of 1 - (1 - p) ** draws."""
        return _distinct(self.rows, self.lookup_cdf, draws, self.rows if first is None else first)

    def share(self, first: int) -> float:
        """Return the share of lookups that go to the first `first` rows."""
        starts, ends, share = _ranges(self.rows, self.lookup_cdf)
        return float(np.sum(share * np.clip((first - starts) / (ends - starts), 0.0, 1.0)))


@lru_cache(maxsize=65_536)
def _distinct(rows: int, lookup_cdf: tuple[float, ...], draws: float, first: int) -> float:
    starts, ends, share = _ranges(rows, lookup_cdf)
    count = np.maximum(np.minimum(ends, first) - starts, 0)
    with np.errstate(divide="ignore"):  # log(0) of a row that has all lookups
        missed = np.exp(draws * np.log1p(-np.minimum(share / (ends - starts), 1.0))) if draws else 1.0
    return float(np.sum(count * (1.0 - missed)))


@lru_cache(maxsize=4096)
def _ranges(
    rows: int, lookup_cdf: tuple[float, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return where ranges of rows start and end, and the share of lookups of each."""
    ends = [min(1 << octave, rows) for octave in range(len(lookup_cdf))]
    totals = list(lookup_cdf)
    if not ends or ends[-1] < rows:
        ends, totals = [*ends, rows], [*totals, 1.0]
    starts = np.array([0, *ends[:-1]], np.float64)
    share = np.diff(np.array([0.0, *totals]))
    kept = np.array(ends) > starts  # a lookup_cdf may be longer than the table
    return starts[kept], np.array(ends, np.float64)[kept], share[kept]
