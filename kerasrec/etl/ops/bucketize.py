"""Bucketize: which interval a number falls into."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.ops.base import Elementwise
from kerasrec.etl.ops.categorify import FIRST, NULL
from kerasrec.etl.types import float_of, to_polars
from kerasrec.schema import Column, Tag, suggest_embedding_dim

if TYPE_CHECKING:
    from kerasrec.etl.tensors import TensorColumn


@dataclass(repr=False)
class Bucketize(Elementwise):
    """Replaces numbers by the id of their interval, as a categorical column: 3 below the first boundary, 4 from
    it on, ..., 3 + len(boundaries) from the last on. As everywhere, id 0 is padding, 1 null (2 is not used).

    Args:
        boundaries: increasing numbers; a value equal to one falls above it. They are taken in the column's own
            precision: 0.1 is float32's 0.1 for a float32 column.

    Example:

    >>> ages = ["age"] >> Bucketize([18, 25, 35, 50, 65])
    """

    boundaries: Sequence[float]

    def __post_init__(self) -> None:
        self.boundaries = [float(boundary) for boundary in self.boundaries]
        pairs = zip(self.boundaries, self.boundaries[1:], strict=False)
        if not self.boundaries or not all(map(math.isfinite, self.boundaries)) or any(a >= b for a, b in pairs):
            raise ValueError(f"Bucketize needs finite boundaries in increasing order, not {self.boundaries}")

    def vocabularies(self, names: list[str]) -> list[str]:
        return list(names)

    def column(self, column: Column) -> Column:
        float_of(column, "Bucketize")
        cardinality = FIRST + len(self.boundaries) + 1
        return column.evolve(
            dtype="int32",
            add_tags=[Tag.CATEGORICAL],
            cardinality=cardinality,
            embedding_dim=suggest_embedding_dim(cardinality),
            table=column.name,
            nullable=False,
        )

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        dtype = to_polars(float_of(column, "Bucketize"))
        x = x.cast(dtype)
        passed = pl.sum_horizontal((x >= pl.lit(b, dtype)).cast(pl.Int32) for b in self.boundaries)
        first, null = pl.lit(FIRST, pl.Int32), pl.lit(NULL, pl.Int32)
        return pl.when(x.is_null()).then(null).otherwise(passed.cast(pl.Int32) + first)

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        dtype = float_of(column, "Bucketize")

        def bucketize(x: TensorColumn) -> TensorColumn:
            # TensorFlow's own Bucketize op keeps its boundaries in float32.
            boundaries = tf.constant(self.boundaries, dtype)
            ids = FIRST + tf.searchsorted(boundaries, tf.cast(x.values, dtype), side="right")
            if x.valid is not None:
                ids = tf.where(x.valid, ids, NULL)
            return x.evolve(values=ids, valid=None)

        return bucketize
