"""Clip: bounds values from below and above."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.etl.sources.types import float_of, integer_range, is_integer, to_polars
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class Clip(Elementwise):
    """Bound values: those below `min` become `min`, those above `max` become `max`. Nulls stay null.

    An integer column keeps its dtype if both bounds are values of it, otherwise it becomes float64; floats keep
    theirs. NVTabular's `Clip` has `min_value` and `max_value`.

    Args:
        min: the least value.
        max: the greatest value; at least one of the two is needed.

    Raises:
        ValueError: no bound, NaN, or min > max.
        SchemaError: (in fit) a column of strings or dates.

    Example:

    >>> ages = ["age"] >> Clip(min=0, max=120)
    """

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if not bounds or any(bound != bound for bound in bounds) or bounds != sorted(bounds):
            raise ValueError(
                f"Clip takes a min, a max, or both with min <= max; got {self.min!r} and {self.max!r}"
            )

    def column(self, column: Column) -> Column:
        return column.evolve(dtype=self._dtype(column))

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        dtype = to_polars(self._dtype(column))
        low, high = (None if bound is None else pl.lit(bound, dtype) for bound in self._bounds(column))
        return x.cast(dtype).clip(low, high)

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        dtype, (low, high) = self._dtype(column), self._bounds(column)

        def clip(x: TensorColumn) -> TensorColumn:
            values = tf.cast(x.values, dtype)
            if low is not None:
                values = tf.maximum(values, tf.constant(low, dtype))
            if high is not None:
                values = tf.minimum(values, tf.constant(high, dtype))
            return x.evolve(values=values)

        return clip

    def _dtype(self, column: Column) -> str:
        if is_integer(column.dtype):
            low, high = integer_range(column.dtype)
            if all(
                bound is None or (low <= bound <= high and bound == int(bound)) for bound in (self.min, self.max)
            ):
                return column.dtype
        return float_of(column, "Clip")

    def _bounds(self, column: Column) -> tuple[Any, Any]:
        cast = int if is_integer(self._dtype(column)) else float
        return tuple(None if bound is None else cast(bound) for bound in (self.min, self.max))  # type: ignore[return-value]
