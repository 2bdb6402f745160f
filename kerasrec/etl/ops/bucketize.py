"""Bucketize: replaces numbers by the id of their interval."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.etl.operator.id_columns import FIRST, NULL, id_column
from kerasrec.etl.operator.settings import check_names, setting_for
from kerasrec.etl.sources.types import float_of, to_polars
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class Bucketize(Elementwise):
    """Replace numbers by the id of their interval.

    The output is a categorical int32 column: 3 for values below the first boundary, 4 from there on, ...,
    3 + len(boundaries) from the last boundary on. Id 0 is padding and 1 is null, as for every operator that
    outputs ids; 2 is unused. Elements of lists are replaced one by one.

    NVTabular's `Bucketize` takes only the dict, and outputs ids 0 to len(boundaries), with no id for nulls.

    Args:
        boundaries: increasing numbers, or a dict of such by column. A value equal to a boundary is above it. They
            are compared in the column's precision: for a float32 column, 0.1 is float32's 0.1.

    Raises:
        ValueError: boundaries that are not finite and increasing, a dict that lacks a column or has an unknown
            one.
        SchemaError: (in fit) a column of strings or dates.

    Example:

    >>> ages = ["age"] >> Bucketize([18, 25, 35, 50, 65])
    """

    boundaries: Sequence[float] | Mapping[str, Sequence[float]]

    def __post_init__(self) -> None:
        if isinstance(self.boundaries, Mapping):
            self.boundaries = {name: _checked(numbers) for name, numbers in self.boundaries.items()}
        else:
            self.boundaries = _checked(self.boundaries)

    def output_names(self, names: list[str]) -> list[str]:
        check_names("Bucketize", "boundaries", self.boundaries, names, required=True)
        return list(names)

    def vocabularies(self, names: list[str]) -> list[str]:
        return list(names)

    def column(self, column: Column) -> Column:
        float_of(column, "Bucketize")
        return id_column(column, FIRST + len(setting_for(self.boundaries, column.name)) + 1, column.name)

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        dtype = to_polars(float_of(column, "Bucketize"))
        x = x.cast(dtype)
        index = pl.sum_horizontal(
            (x >= pl.lit(b, dtype)).cast(pl.Int32) for b in setting_for(self.boundaries, column.name)
        )
        first, null = pl.lit(FIRST, pl.Int32), pl.lit(NULL, pl.Int32)
        return pl.when(x.is_null()).then(null).otherwise(index.cast(pl.Int32) + first)

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        dtype, numbers = float_of(column, "Bucketize"), setting_for(self.boundaries, column.name)

        def bucketize(x: TensorColumn) -> TensorColumn:
            # TensorFlow's own Bucketize op has float32 boundaries.
            boundaries = tf.constant(numbers, dtype)
            ids = FIRST + tf.searchsorted(boundaries, tf.cast(x.values, dtype), side="right")
            if x.valid is not None:
                ids = tf.where(x.valid, ids, NULL)
            return x.evolve(values=ids, valid=None)

        return bucketize


def _checked(boundaries: Sequence[float]) -> list[float]:
    numbers = [float(boundary) for boundary in boundaries]
    increasing = all(a < b for a, b in itertools.pairwise(numbers))
    if not numbers or not all(map(math.isfinite, numbers)) or not increasing:
        raise ValueError(f"Bucketize: boundaries must be finite and increasing; got {numbers}")
    return numbers
