"""ValueCount: how many elements lists hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from kerasrec.etl.ops.base import Operator
from kerasrec.schema import Column, Hotness, SchemaError

if TYPE_CHECKING:
    from kerasrec.etl.tensors import TensorColumn


@dataclass(repr=False)
class ValueCount(Operator):
    """Learns the least, the mean and the greatest number of elements of list columns and notes them in the schema,
    as `hotness`; values stay as they are.

    Raw list columns are counted in any case, so this is for lists whose lengths an operator changed. NVTabular's
    `ValueCount` notes the least and the greatest only.

    Raises (when fitted):
        SchemaError: a column that holds no lists.

    Example:

    >>> recent = ["history"] >> ListSlice(-20) >> ValueCount()
    """

    stateful: ClassVar[bool] = True

    def output(self, columns: Sequence[Column]) -> list[Column]:
        for column in columns:
            if not column.is_list:
                raise SchemaError(f"column {column.name!r} is {column.dtype}: ValueCount takes columns of lists")
        return [
            column.evolve(hotness=Hotness(**self.facts[column.name])) if column.name in self.facts else column
            for column in columns
        ]

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return list(values)

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        return list

    # ---- learning --------------------------------------------------------------------------------------------
    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        lengths = [pl.col(column.name).list.len().cast(pl.Int64) for column in columns]
        return [
            frame.select(column.name).select(
                rows=length.len().cast(pl.Int64), total=length.sum(), min=length.min(), max=length.max()
            )
            for column, length in zip(columns, lengths, strict=True)
        ]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        return [
            pl.concat(frames).select(pl.col("rows", "total").sum(), pl.col("min").min(), pl.col("max").max())
            for frames in zip(*parts, strict=True)
        ]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        for column, frame in zip(columns, statistics, strict=True):
            told = frame.row(0, named=True)
            mean = told["total"] / max(told["rows"], 1)
            self.facts[column.name] = {"min": told["min"] or 0, "mean": mean, "max": told["max"] or 0}
