"""Normalize: mean 0, standard deviation 1."""

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
    """(x - mean) / std, with the mean and the population standard deviation of the values seen when fitted.

    Nulls stay null and are not counted. A column of one value only becomes 0. The two statistics are computed in
    float64, centred (Chan, Golub and LeVeque, 1979, merges parts), so a large mean costs no digits.

    NVTabular's `Normalize` divides by a sample's standard deviation (n - 1), and takes `out_dtype`; here
    floats leave a workflow as float32.

    Example:

    >>> ages = ["age"] >> FillMissing() >> LogOp() >> Normalize()
    """

    def column(self, column: Column) -> Column:
        whole = self.facts.get(column.name, {}).get("nulls") == 0  # says so without another pass over the data
        return column.evolve(dtype=float_of(column, "Normalize"), nullable=column.nullable and not whole)

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
        """The mean, and 1 / std: both faces multiply, as Polars turns a division by a constant into that."""
        facts = self.facts[column.name]
        return facts["mean"], 1 / facts["std"]

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
        """By Chan's formula; parts without values have null moments."""
        count, mean = part("count"), part("mean")
        overall = pl.when(count.sum() > 0).then((mean * count).sum() / count.sum())  # not 0 / 0, which is NaN
        return {
            "count": count.sum(),
            "nulls": part("nulls").sum(),
            "mean": overall,
            "squares": part("squares").sum() + (count * (mean - overall) ** 2).sum(),
            "min": part("min").min(),
            "max": part("max").max(),
        }

    def learn(self, column: Column, told: Mapping[str, Any]) -> None:
        if not told["count"]:
            raise SchemaError(f"column {column.name!r} holds no value to normalize by")
        if not (math.isfinite(told["min"]) and math.isfinite(told["max"])):
            raise SchemaError(f"column {column.name!r} holds infinities; Clip them before Normalize")
        # Where 1 / std would overflow the column's precision, its values count as one.
        tiny = np.finfo(float_of(column, "Normalize")).tiny
        std = 0.0 if told["min"] == told["max"] else math.sqrt(told["squares"] / told["count"])
        mean = told["mean"] if std > tiny else told["min"]
        self.facts[column.name] = {"mean": mean, "std": std if std > tiny else 1.0, "nulls": told["nulls"]}
