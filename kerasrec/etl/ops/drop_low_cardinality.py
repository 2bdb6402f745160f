"""DropLowCardinality: drops categorical columns with few values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.id_columns import FIRST
from kerasrec.etl.operator.operator import Operator
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class DropLowCardinality(Operator):
    """Drop the categorical columns that have fewer than `min_cardinality` values; other columns stay unchanged.

    Fitting decides which columns are dropped. NVTabular's `DropLowCardinality` compares the greatest id, by
    default with 4; here only the ids of values count, which start at 3, so 2 has the same effect.

    Args:
        min_cardinality: the least number of values of a column to keep; 2 drops constant columns.

    Raises:
        ValueError: `min_cardinality` below 1.

    Example:

    >>> cats = ["site", "device", "constant"] >> Categorify() >> DropLowCardinality()
    """

    min_cardinality: int = 2

    def __post_init__(self) -> None:
        if self.min_cardinality < 1:
            raise ValueError(f"DropLowCardinality: min_cardinality must be >= 1; got {self.min_cardinality}")

    def _keeps(self, column: Column) -> bool:
        return column.cardinality is None or column.cardinality - FIRST >= self.min_cardinality

    def output(self, columns: Sequence[Column]) -> list[Column]:
        return [column for column in columns if self._keeps(column)]

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return [value for column, value in zip(columns, values, strict=True) if self._keeps(column)]

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        keeps = [self._keeps(column) for column in columns]
        return lambda values: [value for value, keep in zip(values, keeps, strict=True) if keep]
