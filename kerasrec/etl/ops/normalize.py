"""Normalize: scales to mean 0 and standard deviation 1."""

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
class Normalize(Aggregates, Elementwise):
    """Compute (x - mean) / std, with the mean and the population standard deviation of the fitted values.

    Integers become float64; floats keep their dtype. Nulls stay null and do not count. A constant column becomes
    0. The statistics are computed in float64 and centred (parts are merged as in Chan, Golub and LeVeque, 1979),
    so a large mean costs no precision. NVTabular's `Normalize` divides by the standard deviation of a sample (n -
    1).

    Raises:
        SchemaError: (in fit) a column of strings or dates, of nulls only, or with infinities.

    Example:

    >>> ages = ["age"] >> FillMissing() >> LogOp() >> Normalize()
    """

    def column(self, column: Column) -> Column:
        # Without nulls in the fitted data, no pass over the data is needed to check for them.
        has_no_nulls = self.state.get(column.name, {}).get("nulls") == 0
        return column.evolve(dtype=float_of(column, "Normalize"), nullable=column.nullable and not has_no_nulls)

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        dtype = to_polars(float_of(column, "Normalize"))
        mean, scale = self._moments(column)
        return (x.cast(dtype) - pl.lit(mean, dtype=dtype)) * pl.lit(scale, dtype=dtype)

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        dtype = float_of(column, "Normalize")
        mean, scale = self._moments(column)

        def normalize(x: TensorColumn) -> TensorColumn:
            return x.evolve(
                values=(tf.cast(x.values, dtype) - tf.constant(mean, dtype)) * tf.constant(scale, dtype)
            )

        return normalize

    def _moments(self, column: Column) -> tuple[float, float]:
        """Return the mean and 1 / std: both implementations multiply, as Polars does for division by a
        constant."""
        state = self.state[column.name]
        return state["mean"], 1 / state["std"]

    # ---- learning --------------------------------------------------------------------------------------------
    def aggregates(self, x: pl.Expr, column: Column) -> dict[str, pl.Expr]:
        nulls, x = x.null_count().cast(pl.Int64), x.cast(pl.Float64)
        return {
            "count": x.count(),
            "nulls": nulls,
            "mean": x.mean(),
            "squares": x.var(ddof=0) * x.count(),  # the sum of squared deviations from this part's mean
            "min": x.min(),
            "max": x.max(),
        }

    def merged(self, part: Callable[[str], pl.Expr]) -> dict[str, pl.Expr]:
        """Merge by Chan's formula; parts without values have null moments."""
        count, mean = part("count"), part("mean")
        overall = pl.when(count.sum() > 0).then((mean * count).sum() / count.sum())  # 0 / 0 would be NaN
        return {
            "count": count.sum(),
            "nulls": part("nulls").sum(),
            "mean": overall,
            "squares": part("squares").sum() + (count * (mean - overall) ** 2).sum(),
            "min": part("min").min(),
            "max": part("max").max(),
        }

    def learn(self, column: Column, results: Mapping[str, Any]) -> None:
        if not results["count"]:
            raise SchemaError(f"column {column.name!r} has no value, so Normalize has no mean")
        if not (math.isfinite(results["min"]) and math.isfinite(results["max"])):
            raise SchemaError(f"column {column.name!r} has infinities; Clip them before Normalize")
        # Where 1 / std would overflow, the column counts as constant.
        tiny = np.finfo(float_of(column, "Normalize")).tiny
        std = 0.0 if results["min"] == results["max"] else math.sqrt(results["squares"] / results["count"])
        mean = results["mean"] if std > tiny else results["min"]
        self.state[column.name] = {"mean": mean, "std": std if std > tiny else 1.0, "nulls": results["nulls"]}
