"""FillMedian: replaces nulls by the median."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from kerasrec.etl.operator.elementwise import PerColumn, elements
from kerasrec.etl.ops.fill_missing import Fill
from kerasrec.etl.sources.types import float_of
from kerasrec.schema import Column, SchemaError

DIGITS = 6


@dataclass(repr=False)
class FillMedian(PerColumn, Fill):
    """Replace nulls (and NaN) by the median of the fitted values: the mean of the two middle values if their
    number is even.

    Integers and booleans become float64; floats keep their dtype. In list columns, null elements are replaced.

    Values are counted by their first six decimal digits, each with the least and the greatest value: at most
    900,000 counters per power of ten that a column spans, however many rows there are. So the median is exact
    unless three or more different values share the six digits of the middle value; then its relative error is at
    most 5e-6. NVTabular's `FillMedian` is an approximate quantile of Dask.

    Args:
        add_binary_cols: whether to add a boolean column `x_filled` per column `x`, true where a null was filled.

    Raises:
        SchemaError: (in fit) a column of strings or dates, of nulls only, or with an infinite median.

    Example:

    >>> ages = ["age", "income"] >> FillMedian() >> Normalize()
    """

    stateful: ClassVar[bool] = True
    add_binary_cols: bool = False

    def column(self, column: Column) -> Column:
        return column.evolve(dtype=float_of(column, "FillMedian"), nullable=False)

    def fill(self, column: Column) -> Any:
        return self.state[column.name]["median"]

    # ---- learning --------------------------------------------------------------------------------------------
    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        return [
            elements(frame, column)
            .select(least=pl.col(column.name).cast(pl.Float64))
            .drop_nulls()
            .with_columns(
                digits=pl.col("least").round_sig_figs(DIGITS), greatest="least", count=pl.lit(1, pl.Int64)
            )
            .pipe(_count_by_digits)
            for column in columns
        ]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        return [_count_by_digits(pl.concat(frames).lazy()).collect() for frames in zip(*parts, strict=True)]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        for column, frame in zip(columns, statistics, strict=True):
            if frame.is_empty():
                raise SchemaError(f"column {column.name!r} has no value, so it has no median; use FillMissing")
            median = _median(frame.sort("least"))
            if not math.isfinite(median):
                raise SchemaError(f"column {column.name!r}: the median is {median}; Clip it before FillMedian")
            self.state[column.name] = {"median": median}


def _count_by_digits(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.group_by("digits").agg(
        pl.col("count").sum(), least=pl.col("least").min(), greatest=pl.col("greatest").max()
    )


def _median(counters: pl.DataFrame) -> float:
    """Return the median, given counters in increasing order."""
    ends = counters["count"].cum_sum()
    total = int(ends[-1])

    def at(rank: int) -> float:
        row = counters.row(int(ends.search_sorted(rank, side="right")), named=True)
        before = int(ends.search_sorted(rank, side="right"))
        offset = rank - (int(ends[before - 1]) if before else 0)
        if offset == 0 or row["least"] == row["greatest"]:
            return float(row["least"])
        if offset == row["count"] - 1:
            return float(row["greatest"])
        return float(row["least"] / 2 + row["greatest"] / 2)

    low, high = at((total - 1) // 2), at(total // 2)
    return low if low == high else low / 2 + high / 2
