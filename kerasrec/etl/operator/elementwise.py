"""Operators that map columns one by one, and how a function reaches the elements of list columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.operator import Operator, Take
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


class Elementwise(Operator):
    """An operator that maps each element of each column on its own; the elements of lists as well."""

    def column(self, column: Column) -> Column:
        """Facts of the output made from `column`."""
        return column

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        """The output elements, given the elements `x` of `column`."""
        return x

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        """A function of the elements of `column` as tensors."""
        return lambda x: x

    def output(self, columns: Sequence[Column]) -> list[Column]:
        return [self.column(column) for column in columns]

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return [
            each(column, value, partial(self.expression, column=column))
            for column, value in zip(columns, values, strict=True)
        ]

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        functions = [self.tensor(column, resources) for column in columns]
        return lambda values: [function(x) for function, x in zip(functions, values, strict=True)]


class Apart(Operator):
    """An operator that learns of each column by a query of its own."""

    def queries(self, take: Take, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        return [query for column in columns for query in self.partial(take([column.name]), [column])]


def each(column: Column, value: pl.Expr, function: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """`function` of the elements of `column`, of a list column's in their lists."""
    return value.list.eval(function(pl.element())) if column.is_list else function(value)


def elements(frame: pl.LazyFrame, column: Column) -> pl.LazyFrame:
    """`column` of `frame` alone, a list column's elements one a row."""
    if not column.is_list:
        return frame.select(column.name)
    some = frame.select(column.name).filter(pl.col(column.name).list.len() > 0)
    return some.select(pl.col(column.name).explode())
