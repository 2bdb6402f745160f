"""Bases of operators that change the rows: they drop some, or make new ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.etl.operator.operator import Operator
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


class RowFilter(Elementwise):
    """Base of operators that drop rows and leave values unchanged.

    A row dropped here is dropped from every column that is combined with these. Served rows, and those of
    `transform(..., targets=False)`, are never dropped: each gets a prediction.
    """

    @property
    def drops_rows(self) -> bool:
        """Whether it drops any rows with its current settings."""
        return True

    def predicate(self, columns: Sequence[Column]) -> pl.Expr:
        """Return an expression over the columns by name that is true for the rows to keep."""
        raise NotImplementedError

    def rowwise(self, columns: Sequence[Column]) -> bool:
        """Return whether `predicate` of a row depends on that row only."""
        return True


class RowMaker(Operator):
    """Base of operators whose outputs have other rows than their inputs.

    Attributes:
        served_unchanged: whether a served model keeps the rows unchanged, except for targets that are added.
    """

    makes_rows: ClassVar[bool] = True
    served_unchanged: ClassVar[bool] = False

    @property
    def needs_all_rows(self) -> bool:
        """Whether it needs all data at once to make any row."""
        return True

    def row_inputs(self, names: list[str]) -> list[str]:
        """Return which of the inputs `names` determine the rows, whichever outputs are computed."""
        return list(names)

    def rows(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> pl.LazyFrame:
        """Return the outputs by name, given the inputs by name (and `types.ROW` if `needs_row_numbers`)."""
        raise NotImplementedError

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        names = ", ".join(repr(column.name) for column in columns)
        raise SchemaError(
            f"{self!r} of columns {names} makes other rows, so a served model, which predicts row by row, cannot "
            "have it: make the rows with etl.compute, and fit a Workflow on them, or one that adds them with "
            "JoinExternal (docs/etl.md)"
        )
