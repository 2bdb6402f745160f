"""Splits raw rows at random, the same way every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import polars as pl

from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import ROW

_RANGE = 2**32
_MULTIPLIER = 2_654_435_761  # Knuth's: row numbers times it, modulo 2**32, are spread evenly
_OFFSET = 1_640_531_527  # of a seed's rows from those of the seed before: 38% of the range


@dataclass
class SplitRandom:
    """Split rows at random, the same rows every time.

    A row's part follows from its number and the seed alone, so nothing is read or held in memory, and each part is
    spread evenly over the files. Where the order of the rows has a meaning, or rows of the future are to be
    predicted, use `SplitByTime`.

    As with `SplitByTime`, the parts are sources, which `Workflow.fit` and `transform` take. NVTabular has no such
    operator; one writes the parts of a frame that was shuffled.

    Args:
        fractions: the shares of the rows; at least two, of sum 1. By default (0.8, 0.1, 0.1).
        seed: an integer >= 0; another one draws other rows.

    Raises:
        ValueError: invalid fractions, or a seed that is not an integer >= 0.

    Example:

    >>> train, valid, test = SplitRandom((0.8, 0.1, 0.1))("events/*.parquet")
    >>> workflow.fit(train)
    >>> workflow.transform(valid).to_parquet("valid/")
    """

    fractions: Sequence[float] = (0.8, 0.1, 0.1)
    seed: int = 0

    def __post_init__(self) -> None:
        f = self.fractions
        if len(f) < 2 or min(f) <= 0 or abs(sum(f) - 1) > 1e-6:
            raise ValueError(f"SplitRandom: fractions must be two or more numbers > 0 of sum 1; got {tuple(f)}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"SplitRandom: seed must be an integer >= 0; got {self.seed!r}")

    def __call__(self, source: Any) -> list[Source]:
        """Return the parts of `source`, in the order of `fractions`."""
        source = scan(source)
        number = pl.col(ROW).cast(pl.UInt64) % _RANGE
        place = (number * _MULTIPLIER + self.seed * _OFFSET % _RANGE) % _RANGE
        bounds = [0, *(round(share * _RANGE) for share in accumulate(self.fractions[:-1])), _RANGE]
        parts = []
        for i, (low, high) in enumerate(pairwise(bounds)):
            name = f"{len(source.filters)}: part {i} of {len(bounds) - 1} at random, seed {self.seed}"
            parts.append(replace(source, filters={**source.filters, name: (place >= low) & (place < high)}))
        return parts
