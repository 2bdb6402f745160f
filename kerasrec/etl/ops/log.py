"""LogOp: computes the logarithm of 1 + x."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.etl.sources.types import float_of, to_polars
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class LogOp(Elementwise):
    """Compute log(1 + x), for counts and amounts that span orders of magnitude.

    Integers become float64; floats keep their dtype. Values of -1 and below have no logarithm and become null: add
    `Clip(min=0)` before, or `FillMissing` after (nulls that remain at the end are an error). NVTabular's `LogOp`
    makes NaN and -inf of them.

    Raises:
        SchemaError: (in fit) a column of strings or dates.

    Example:

    >>> clicks = ["clicks"] >> FillMissing() >> Clip(min=0) >> LogOp() >> Normalize()
    """

    def column(self, column: Column) -> Column:
        return column.evolve(dtype=float_of(column, "LogOp"), nullable=True)

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        x = x.cast(to_polars(float_of(column, "LogOp")))
        return pl.when(x > -1).then(x.log1p())

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        dtype = float_of(column, "LogOp")

        def log(x: TensorColumn) -> TensorColumn:
            values = tf.cast(x.values, dtype)
            valid = values > -1 if x.valid is None else x.valid & (values > -1)
            return x.evolve(values=tf.math.log1p(values), valid=valid)

        return log
