"""NormalizeMinMax: scales to the range from 0 to 1."""

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
    """Compute (x - min) / (max - min), with the least and the greatest fitted value.

    Integers become float64; floats keep their dtype. Nulls stay null. A constant column becomes 0 (0.5 in
    NVTabular). A value outside the fitted range is scaled to one outside 0 to 1, as in NVTabular's
    `NormalizeMinMax`; add `Clip(0, 1)` to prevent that.

    Raises:
        SchemaError: (in fit) a column of strings or dates, of nulls only, with infinities, or with a range beyond
            its precision.

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
        """Return min and 1 / (max - min): both implementations multiply, as Polars does for division by a
        constant."""
        least, greatest = self.state[column.name]["min"], self.state[column.name]["max"]
        # Where 1 / (max - min) would overflow, the column counts as constant.
        tiny = np.finfo(float_of(column, "NormalizeMinMax")).tiny
        return least, 1 / (greatest - least) if greatest - least > tiny else 1.0

    # ---- learning --------------------------------------------------------------------------------------------
    def aggregates(self, x: pl.Expr, column: Column) -> dict[str, pl.Expr]:
        x = x.cast(pl.Float64)
        return {"min": x.min(), "max": x.max()}

    def merged(self, part: Callable[[str], pl.Expr]) -> dict[str, pl.Expr]:
        return {"min": part("min").min(), "max": part("max").max()}

    def learn(self, column: Column, results: Mapping[str, Any]) -> None:
        if results["min"] is None:
            raise SchemaError(f"column {column.name!r} has no value, so NormalizeMinMax has no range")
        limit = np.finfo(float_of(column, "NormalizeMinMax")).max
        if not (math.isfinite(results["min"]) and math.isfinite(results["max"])):
            raise SchemaError(f"column {column.name!r} has infinities; Clip them before NormalizeMinMax")
        if results["max"] - results["min"] > limit:
            raise SchemaError(
                f"column {column.name!r} ranges from {results['min']} to {results['max']}, too large a range for "
                f"{float_of(column, 'NormalizeMinMax')}; Clip it before NormalizeMinMax"
            )
        self.state[column.name] = dict(results)
