"""NormalizeMinMax: from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from kerasrec.etl.operator.aggregates import Aggregates
from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.etl.sources.types import float_of, to_polars
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class NormalizeMinMax(Aggregates, Elementwise):
    """(x - min) / (max - min), with the least and the greatest value seen when fitted.

    Nulls stay null. A column of one value only becomes 0 (NVTabular: 0.5); a value outside of what was seen falls
    outside of 0 to 1, as in NVTabular's `NormalizeMinMax`: `Clip(0, 1)` after it where that must not be.

    Raises (when fitted):
        SchemaError: a column of strings, of nulls only, with infinities, or whose range is beyond its precision.

    Example:

    >>> prices = ["price"] >> NormalizeMinMax()
    """

    def column(self, column: Column) -> Column:
        return column.evolve(dtype=float_of(column, "NormalizeMinMax"))

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        dtype = to_polars(float_of(column, "NormalizeMinMax"))
        least, scale = self._range(column)
        return (x.cast(dtype) - pl.lit(least, dtype=dtype)) * pl.lit(scale, dtype=dtype)

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        dtype = float_of(column, "NormalizeMinMax")
        least, scale = self._range(column)

        def normalize(x: TensorColumn) -> TensorColumn:
            values = (tf.cast(x.values, dtype) - tf.constant(least, dtype)) * tf.constant(scale, dtype)
            return x.evolve(values=values)

        return normalize

    def _range(self, column: Column) -> tuple[float, float]:
        """The least value, and 1 / (max - min): both faces multiply, as Polars makes that of a division."""
        least, greatest = self.facts[column.name]["min"], self.facts[column.name]["max"]
        # Where 1 / (max - min) would overflow the column's precision, its values count as one.
        tiny = np.finfo(float_of(column, "NormalizeMinMax")).tiny
        return least, 1 / (greatest - least) if greatest - least > tiny else 1.0

    # ---- learning --------------------------------------------------------------------------------------------
    def aggregates(self, x: pl.Expr, column: Column) -> dict[str, pl.Expr]:
        x = x.cast(pl.Float64)
        return {"min": x.min(), "max": x.max()}

    def merged(self, part: Callable[[str], pl.Expr]) -> dict[str, pl.Expr]:
        return {"min": part("min").min(), "max": part("max").max()}

    def learn(self, column: Column, told: Mapping[str, Any]) -> None:
        if told["min"] is None:
            raise SchemaError(f"column {column.name!r} holds no value to normalize by")
        limit = np.finfo(float_of(column, "NormalizeMinMax")).max
        if not (math.isfinite(told["min"]) and math.isfinite(told["max"])):
            raise SchemaError(f"column {column.name!r} holds infinities; Clip them before NormalizeMinMax")
        if told["max"] - told["min"] > limit:
            raise SchemaError(
                f"column {column.name!r} ranges from {told['min']} to {told['max']}, which is too far for "
                f"{float_of(column, 'NormalizeMinMax')}; Clip it before NormalizeMinMax"
            )
        self.facts[column.name] = dict(told)
