"""FillMedian: the median for nulls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from kerasrec.etl.operator.elementwise import Apart, elements
from kerasrec.etl.ops.fill_missing import Fill
from kerasrec.etl.sources.types import float_of
from kerasrec.schema import Column, SchemaError

DIGITS = 6


@dataclass(repr=False)
class FillMedian(Apart, Fill):
    """Replaces nulls (and NaN) by the median of the values seen when fitted, the mean of the two middle ones where
    their number is even. Integers and booleans become float64.

    Values are counted by their first six decimal digits, with the least and the greatest of each: at most 900,000
    counters for each power of ten that a column spans, however many rows there are. So the median is exact unless
    three or more different values share the six digits of the middle one; then it is within 5e-6 of its size.

    NVTabular's `FillMedian` is Dask's approximate quantile; the column of flags has the same name there.

    Args:
        add_binary_cols: whether each column `x` is followed by one `x_filled`, 1 where a null was filled, else 0.

    Raises (when fitted):
        SchemaError: a column of strings, of nulls only, or whose median is infinite.

    Example:

    >>> ages = ["age", "income"] >> FillMedian() >> Normalize()
    """

    stateful: ClassVar[bool] = True
    add_binary_cols: bool = False

    def column(self, column: Column) -> Column:
        return column.evolve(dtype=float_of(column, "FillMedian"), nullable=False)

    def fill(self, column: Column) -> Any:
        return self.facts[column.name]["median"]

    # ---- learning --------------------------------------------------------------------------------------------
    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        return [
            elements(frame, column)
            .select(least=pl.col(column.name).cast(pl.Float64))
            .drop_nulls()
            .with_columns(
                digits=pl.col("least").round_sig_figs(DIGITS), greatest="least", count=pl.lit(1, pl.Int64)
            )
            .pipe(_counted)
            for column in columns
        ]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        return [_counted(pl.concat(frames).lazy()).collect() for frames in zip(*parts, strict=True)]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        for column, frame in zip(columns, statistics, strict=True):
            if frame.is_empty():
                raise SchemaError(f"column {column.name!r} holds no value to take a median of")
            median = _median(frame.sort("least"))
            if not math.isfinite(median):
                raise SchemaError(f"column {column.name!r}: its median is {median}; Clip it before FillMedian")
            self.facts[column.name] = {"median": median}


def _counted(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.group_by("digits").agg(
        pl.col("count").sum(), least=pl.col("least").min(), greatest=pl.col("greatest").max()
    )


def _median(counters: pl.DataFrame) -> float:
    """The median, given counters in increasing order."""
    ends = counters["count"].cum_sum()
    total = int(ends[-1])

    def at(rank: int) -> float:
        row = counters.row(int(ends.search_sorted(rank, side="right")), named=True)
        before = int(ends.search_sorted(rank, side="right"))
        place = rank - (int(ends[before - 1]) if before else 0)
        if place == 0 or row["least"] == row["greatest"]:
            return float(row["least"])
        if place == row["count"] - 1:
            return float(row["greatest"])
        return float(row["least"] / 2 + row["greatest"] / 2)

    low, high = at((total - 1) // 2), at(total // 2)
    return low if low == high else low / 2 + high / 2
