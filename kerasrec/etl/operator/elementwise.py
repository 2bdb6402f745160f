"""Operators that compute each output column from one input column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.operator import Operator, SelectColumns
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


class Elementwise(Operator):
    """Base of operators that map each element of each column by itself, including the elements of lists."""

    def column(self, column: Column) -> Column:
        """Describe the output for `column`."""
        return column

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        """Return the output elements, given the elements `x` of `column`."""
        return x

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        """Return a function that maps the elements of `column` as tensors."""
        return lambda x: x

    def output(self, columns: Sequence[Column]) -> list[Column]:
        return [self.column(column) for column in columns]

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return [
            map_elements(column, value, partial(self.expression, column=column))
            for column, value in zip(columns, values, strict=True)
        ]

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        functions = [self.tensor(column, resources) for column in columns]
        return lambda values: [function(x) for function, x in zip(functions, values, strict=True)]


class PerColumn(Operator):
    """Mixin of operators that compute the statistics of each column by a query of its own."""

    def queries(self, select: SelectColumns, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        return [query for column in columns for query in self.partial(select([column.name]), [column])]


def map_elements(column: Column, value: pl.Expr, function: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """Apply `function` to the elements of `column`; within the lists of a list column."""
    return value.list.eval(function(pl.element())) if column.is_list else function(value)


def elements(frame: pl.LazyFrame, column: Column) -> pl.LazyFrame:
    """Return only `column` of `frame`, with one row per element of a list column."""
    if not column.is_list:
        return frame.select(column.name)
    filled = frame.select(column.name).filter(pl.col(column.name).list.len() > 0)
    return filled.select(pl.col(column.name).explode())
