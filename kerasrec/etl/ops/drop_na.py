"""DropNA: no rows with nulls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from kerasrec.etl.operator.row_operators import KeepsRows
from kerasrec.schema import Column


@dataclass(repr=False)
class DropNA(KeepsRows):
    """Drops the rows in which any of the columns is null or NaN, or of a list column any element is. (A null list
    counts as an empty one, which is no null.)

    The row is dropped from every output that is united with these columns. Operators behind learn from the kept
    rows only. Served rows, and those of `transform(..., targets=False)`, are never dropped: a null stays one.
    Rows stream.

    NVTabular's `Dropna` does the same, but keeps lists with null elements, and drops null lists.

    Example:

    >>> ages = ["age", "income"] >> DropNA() >> Normalize()
    """

    def column(self, column: Column) -> Column:
        return column.evolve(nullable=False)

    def keeps(self, columns: Sequence[Column]) -> pl.Expr:
        return pl.all_horizontal(_there(column) for column in columns)


def _there(column: Column) -> pl.Expr:
    x = pl.col(column.name)
    return x.list.len() == x.list.drop_nulls().list.len() if column.is_list else x.is_not_null()
