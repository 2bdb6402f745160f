"""ReduceDtypeSize: casts ids to the narrowest integer dtype, float64 to float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.etl.sources.types import integer_range, is_float, to_polars
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class ReduceDtypeSize(Elementwise):
    """Cast ids to the narrowest of int8, int16 and int32 that fits the column's cardinality, and float64 to
    float32.

    Files and batches get smaller. NVTabular's `ReduceDtypeSize` also narrows other integers to the fitted range,
    where a greater value overflows later; here those stay the same.

    Example:

    >>> cats = ["site", "device"] >> Categorify() >> ReduceDtypeSize()
    """

    def column(self, column: Column) -> Column:
        if column.cardinality is not None:
            types = ("int8", "int16", "int32", "int64")
            return column.evolve(dtype=next(t for t in types if column.cardinality - 1 <= integer_range(t)[1]))
        return column.evolve(dtype="float32") if is_float(column.dtype) else column

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        return x.cast(to_polars(self.column(column).dtype))

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        dtype = self.column(column).dtype
        return lambda x: x.evolve(values=tf.cast(x.values, dtype))
