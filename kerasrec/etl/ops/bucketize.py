"""Bucketize: which interval a number falls into."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.etl.operator.id_columns import FIRST, NULL, id_column
from kerasrec.etl.operator.settings import check_names, setting
from kerasrec.etl.sources.types import float_of, to_polars
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class Bucketize(Elementwise):
    """Replaces numbers by the id of their interval, as a categorical column: 3 below the first boundary, 4 from
    it on, ..., 3 + len(boundaries) from the last on. As everywhere, id 0 is padding, 1 null (2 is not used).

    Args:
        boundaries: increasing numbers; a value equal to one falls above it. They are taken in the column's own
            precision: 0.1 is float32's 0.1 for a float32 column. Or a dict of such by column.

    NVTabular's `Bucketize` takes the dict only, and makes ids 0 to len(boundaries) with no place for nulls.

    Example:

    >>> ages = ["age"] >> Bucketize([18, 25, 35, 50, 65])
    """

    boundaries: Sequence[float] | Mapping[str, Sequence[float]]

    def __post_init__(self) -> None:
        if isinstance(self.boundaries, Mapping):
            self.boundaries = {name: _checked(some) for name, some in self.boundaries.items()}
        else:
            self.boundaries = _checked(self.boundaries)

    def output_names(self, names: list[str]) -> list[str]:
        check_names("Bucketize", "boundaries", self.boundaries, names, all_of_them=True)
        return list(names)

    def vocabularies(self, names: list[str]) -> list[str]:
        return list(names)

    def column(self, column: Column) -> Column:
        float_of(column, "Bucketize")
        return id_column(column, FIRST + len(setting(self.boundaries, column.name)) + 1, column.name)

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        dtype = to_polars(float_of(column, "Bucketize"))
        x = x.cast(dtype)
        passed = pl.sum_horizontal(
            (x >= pl.lit(b, dtype)).cast(pl.Int32) for b in setting(self.boundaries, column.name)
        )
        first, null = pl.lit(FIRST, pl.Int32), pl.lit(NULL, pl.Int32)
        return pl.when(x.is_null()).then(null).otherwise(passed.cast(pl.Int32) + first)

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        dtype, numbers = float_of(column, "Bucketize"), setting(self.boundaries, column.name)

        def bucketize(x: TensorColumn) -> TensorColumn:
            # TensorFlow's own Bucketize op keeps its boundaries in float32.
            boundaries = tf.constant(numbers, dtype)
            ids = FIRST + tf.searchsorted(boundaries, tf.cast(x.values, dtype), side="right")
            if x.valid is not None:
                ids = tf.where(x.valid, ids, NULL)
            return x.evolve(values=ids, valid=None)

        return bucketize


def _checked(boundaries: Sequence[float]) -> list[float]:
    numbers = [float(boundary) for boundary in boundaries]
    rising = all(a < b for a, b in itertools.pairwise(numbers))
    if not numbers or not all(map(math.isfinite, numbers)) or not rising:
        raise ValueError(f"Bucketize needs finite boundaries in increasing order, not {numbers}")
    return numbers
