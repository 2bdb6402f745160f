"""Normalize: mean 0, standard deviation 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from kerasrec.etl.ops.base import Elementwise, elements
from kerasrec.etl.types import float_of, to_polars
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    from kerasrec.etl.tensors import TensorColumn


@dataclass(repr=False)
class Normalize(Elementwise):
    """(x - mean) / std, with the mean and the population standard deviation of the values seen when fitted.

    Nulls stay null and are not counted. A column of one value only becomes 0. The two statistics are computed in
    float64, centred (Chan, Golub and LeVeque, 1979, merges parts), so a large mean costs no digits.

    NVTabular's `Normalize` divides by a sample's standard deviation (n - 1), and takes `out_dtype`; here
    floats leave a workflow as float32.

    Example:

    >>> ages = ["age"] >> FillMissing() >> LogOp() >> Normalize()
    """

    stateful: ClassVar[bool] = True

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
    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        def moments(column: Column) -> pl.LazyFrame:
            x = pl.col(column.name).cast(pl.Float64)
            return elements(frame, column).select(
                count=x.count(),
                nulls=x.null_count().cast(pl.Int64),
                mean=x.mean(),
                squares=x.var(ddof=0) * x.count(),  # the sum of squared deviations from this part's mean
                min=x.min(),
                max=x.max(),
            )

        return [moments(column) for column in columns]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        together = [pl.concat(frames) for frames in zip(*parts, strict=True)]
        return [frame if len(frame) == 1 else _merged(frame) for frame in together]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        for column, frame in zip(columns, statistics, strict=True):
            row = frame.row(0, named=True)
            if not row["count"]:
                raise SchemaError(f"column {column.name!r} holds no value to normalize by")
            if not (math.isfinite(row["min"]) and math.isfinite(row["max"])):
                raise SchemaError(f"column {column.name!r} holds infinities; Clip them before Normalize")
            # Where 1 / std would overflow the column's precision, its values count as one.
            tiny = np.finfo(float_of(column, "Normalize")).tiny
            std = 0.0 if row["min"] == row["max"] else math.sqrt(row["squares"] / row["count"])
            mean = row["mean"] if std > tiny else row["min"]
            self.facts[column.name] = {"mean": mean, "std": std if std > tiny else 1.0, "nulls": row["nulls"]}


def _merged(frame: pl.DataFrame) -> pl.DataFrame:
    """One row of moments from several, by Chan's formula."""
    count, mean = pl.col("count"), pl.col("mean")
    overall = (mean * count).sum() / count.sum()
    return frame.filter(count > 0).select(
        count=count.sum(),
        nulls=pl.lit(frame["nulls"].sum(), pl.Int64),
        mean=overall,
        squares=pl.col("squares").sum() + (count * (mean - overall) ** 2).sum(),
        min=pl.col("min").min(),
        max=pl.col("max").max(),
    )
