"""ReduceDtypeSize: ids in the narrowest type that holds them."""

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
    """Ids become int8, int16 or int32, whichever holds the column's cardinality, so files and batches are smaller;
    float64 becomes float32.

    NVTabular's `ReduceDtypeSize` also narrows other integers to the range seen when fitted, where a greater value
    wraps round later. Here those stay as they are.

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
