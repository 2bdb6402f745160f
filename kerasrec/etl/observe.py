"""What the engine itself wants to know of columns: rows, nulls, lengths of lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from kerasrec.etl.ops.base import Operator
from kerasrec.schema import Column, Hotness


@dataclass(repr=False)
class Observe(Operator):
    """Learns how many rows and nulls columns hold, and how long their lists are, and notes it in their facts."""

    stateful: ClassVar[bool] = True

    def output(self, columns: Sequence[Column]) -> list[Column]:
        return [self._noted(column) if column.name in self.facts else column for column in columns]

    def _noted(self, column: Column) -> Column:
        told = self.facts[column.name]
        column = column.evolve(nullable=told["nulls"] > 0)
        if not column.is_list:
            return column
        return column.evolve(hotness=Hotness(told["shortest"], told["elements"] / told["rows"], told["longest"]))

    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        def observed(column: Column) -> pl.LazyFrame:
            x = pl.col(column.name)
            counts = {"rows": pl.len(), "nulls": nulls(x, column)}
            if column.is_list:
                length = x.list.len()
                counts |= {"elements": length.sum(), "shortest": length.min(), "longest": length.max()}
            return frame.select(column.name).select(
                **{name: count.cast(pl.Int64) for name, count in counts.items()}
            )

        return [observed(column) for column in columns]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        sums, least, greatest = pl.col("rows", "nulls"), pl.col("^shortest$").min(), pl.col("^longest$").max()
        return [
            pl.concat(frames).select(sums.sum(), pl.col("^elements$").sum(), least, greatest)
            for frames in zip(*parts, strict=True)
        ]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        for column, frame in zip(columns, statistics, strict=True):
            self.facts[column.name] = frame.row(0, named=True)


def nulls(x: pl.Expr, column: Column) -> pl.Expr:
    """How many nulls `x` holds; of a list column, how many elements are null."""
    return (x.list.len() - x.list.drop_nulls().list.len()).sum() if column.is_list else x.null_count()
