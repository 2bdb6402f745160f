"""FillMissing: a value for nulls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.ops.base import Elementwise
from kerasrec.etl.types import integer_range, is_float, is_integer, to_polars
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    from kerasrec.etl.tensors import TensorColumn


@dataclass(repr=False)
class FillMissing(Elementwise):
    """Replaces nulls (and NaN, which counts as null) by `value`; in a list column, null elements.

    Args:
        value: what to put there; it must be a value of the columns' own type, which stays as it is.

    Example:

    >>> ages = ["age", "income"] >> FillMissing(0)
    """

    value: bool | int | float | str = 0

    def column(self, column: Column) -> Column:
        self._typed(column)
        return column.evolve(nullable=False)

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        return x.fill_null(pl.lit(self._typed(column), dtype=to_polars(column.dtype)))

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        def fill(x: TensorColumn) -> TensorColumn:
            if x.valid is None:
                return x
            value = tf.constant(self._typed(column), x.values.dtype)
            return x.evolve(values=tf.where(x.valid, x.values, value), valid=None)

        return fill

    def _typed(self, column: Column) -> Any:
        """`value` as one of the column's type."""
        dtype = column.dtype
        value: Any = self.value
        number = isinstance(value, int | float)
        if dtype == "string":
            fits = isinstance(value, str)
        elif dtype == "bool":
            fits = number and value in (0, 1)
        elif is_integer(dtype):
            low, high = integer_range(dtype)
            fits = number and low <= value <= high and int(value) == value
        else:
            fits = number and value == value
        if not fits:
            raise SchemaError(f"column {column.name!r} is {dtype}: FillMissing({value!r}) does not fit it")
        cast: Any = str if dtype == "string" else bool if dtype == "bool" else float if is_float(dtype) else int
        return cast(value)
