"""DropNA: drops rows with nulls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from kerasrec.etl.operator.row_operators import RowFilter
from kerasrec.schema import Column


@dataclass(repr=False)
class DropNA(RowFilter):
    """Drop the rows in which any of the columns is null or NaN, or any element of a list column is.

    A null list counts as an empty list, so it is kept. The row is dropped from every output that is combined with
    these columns; later operators learn from the remaining rows. Served rows, and those of `transform(...,
    targets=False)`, are never dropped, and keep their nulls. Rows are streamed; values and dtypes stay the same.

    NVTabular's `Dropna` keeps lists with null elements, and drops null lists.

    Example:

    >>> ages = ["age", "income"] >> DropNA() >> Normalize()
    """

    def column(self, column: Column) -> Column:
        return column.evolve(nullable=False)

    def predicate(self, columns: Sequence[Column]) -> pl.Expr:
        return pl.all_horizontal(_is_complete(column) for column in columns)


def _is_complete(column: Column) -> pl.Expr:
    x = pl.col(column.name)
    return x.list.len() == x.list.drop_nulls().list.len() if column.is_list else x.is_not_null()
