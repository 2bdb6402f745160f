"""Target: marks columns as what the model predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.etl.sources.types import float_of, to_polars
from kerasrec.schema import Column, SchemaError, Tag

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class Target(Elementwise):
    """Mark columns as targets: BINARY if all fitted values are 0 or 1, else REGRESSION.

    With `threshold` the output is float32, otherwise float64, or the dtype of a column of floats. NVTabular sets
    the tags by hand, `AddTags(["target", "binary_classification"])`, and checks nothing.

    Args:
        threshold: if given, values >= threshold become 1 and values below become 0.
        binary: True refuses values other than 0 and 1; False always tags REGRESSION.

    Raises:
        SchemaError: (in fit) a column of strings, dates or lists, or with `binary=True` a value other than 0 and
            1.

    Example:

    >>> label = ["rating"] >> Target(threshold=4) >> Rename({"rating": "liked"})
    """

    stateful: ClassVar[bool] = True
    threshold: float | None = None
    binary: bool | None = None

    def column(self, column: Column) -> Column:
        if column.is_list:
            raise SchemaError(f"column {column.name!r} has lists, which cannot be a target")
        kind = Tag.BINARY if self.state.get(column.name, {}).get("binary") else Tag.REGRESSION
        dtype = "float32" if self.threshold is not None else float_of(column, "Target")
        return column.evolve(dtype=dtype, add_tags=[Tag.TARGET, kind])

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        dtype = to_polars(float_of(column, "Target"))
        if self.threshold is None:
            return x.cast(dtype)
        return (x.cast(dtype) >= pl.lit(self.threshold, dtype)).cast(pl.Float32)

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        dtype = float_of(column, "Target")

        def mark(x: TensorColumn) -> TensorColumn:
            values = tf.cast(x.values, dtype)
            if self.threshold is not None:
                values = tf.cast(values >= tf.constant(self.threshold, dtype), tf.float32)
            return x.evolve(values=values)

        return mark

    # ---- learning --------------------------------------------------------------------------------------------
    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        values = [self.expression(pl.col(c.name), c).cast(pl.Float64) for c in columns]
        # The least value other than 0 and 1; null where there is none.
        return [
            frame.select(
                x.filter((x != 0) & (x != 1)).min().alias(c.name) for x, c in zip(values, columns, strict=True)
            )
        ]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        return [pl.concat(frames).select(pl.all().min()) for frames in zip(*parts, strict=True)]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        for name, other in statistics[0].row(0, named=True).items():
            if self.binary and other is not None:
                raise SchemaError(f"column {name!r} has a value {other!r}; Target(binary=True) takes only 0 and 1")
            self.state[name] = {"binary": other is None and self.binary is not False}
