"""DropLowCardinality: leaves out categorical columns that tell next to nothing."""

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
    """Drops the categorical columns with fewer than `min_cardinality` ids of values; others stay as they are.
    Which are dropped is known when the workflow is fitted.

    NVTabular's `DropLowCardinality` compares the greatest id, by default with 4; here ids of values are counted,
    from 3 on, so 2 means the same.

    Args:
        min_cardinality: the fewest ids that a column must have; 2 drops columns of one value.

    Example:

    >>> cats = ["site", "device", "constant"] >> Categorify() >> DropLowCardinality()
    """

    min_cardinality: int = 2

    def __post_init__(self) -> None:
        if self.min_cardinality < 1:
            raise ValueError(f"DropLowCardinality: min_cardinality must be at least 1, not {self.min_cardinality}")

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
