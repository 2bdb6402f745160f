"""Operators that change the rows: they drop some, or make new ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.etl.operator.operator import Operator
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


class KeepsRows(Elementwise):
    """An operator that keeps some rows, and their values as they are.

    A row that is dropped here is dropped from every column that is united with these. Served rows, and those of
    `transform(..., targets=False)`, are never dropped: each gets its prediction.
    """

    @property
    def drops(self) -> bool:
        """Whether it may drop rows at all."""
        return True

    def keeps(self, columns: Sequence[Column]) -> pl.Expr:
        """True where a row stays, over the columns by name."""
        raise NotImplementedError

    def rowwise(self, columns: Sequence[Column]) -> bool:
        """Whether a row stays for what it holds alone, whatever other rows there are."""
        return True


class MakesRows(Operator):
    """An operator whose outputs are columns of other rows than its inputs.

    Attributes:
        passes: whether rows that are served pass through it as they are, but for targets it adds.
    """

    makes_rows: ClassVar[bool] = True
    passes: ClassVar[bool] = False

    @property
    def whole(self) -> bool:
        """Whether it needs all of the data at once to make any row."""
        return True

    def decides_by(self, names: list[str]) -> list[str]:
        """Which of the inputs `names` say what rows there are, whichever outputs are wanted."""
        return list(names)

    def rows(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> pl.LazyFrame:
        """The outputs by name, given a frame of the inputs by name (with their `types.ROW` if `numbered`)."""
        raise NotImplementedError

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        names = ", ".join(repr(column.name) for column in columns)
        raise SchemaError(
            f"{self!r} makes other rows out of columns {names}, so it cannot be part of a served model, which "
            "answers row by row: transform those rows first, and fit a second Workflow on what comes out"
        )
