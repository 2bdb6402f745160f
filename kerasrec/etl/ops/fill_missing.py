"""FillMissing: replaces nulls by a given value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.elementwise import Elementwise, map_elements
from kerasrec.etl.sources.types import to_dtype, to_polars
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class Fill(Elementwise):
    """Base of the operators that fill nulls; `fill` returns the value."""

    def fill(self, column: Column) -> Any:
        """Return the value for nulls of `column`, of the dtype of the output."""
        raise NotImplementedError

    @property
    def adds_flags(self) -> bool:
        """Whether a boolean column is added that marks the values that were filled."""
        return bool(self.settings["add_binary_cols"])

    def output_names(self, names: list[str]) -> list[str]:
        return [*names, *(f"{name}_filled" for name in names)] if self.adds_flags else list(names)

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        outputs = self.output_names(names)
        return {output: [name] for output, name in zip(outputs, names * (len(outputs) // len(names)), strict=True)}

    def output(self, columns: Sequence[Column]) -> list[Column]:
        filled = [self.column(column) for column in columns]
        if not self.adds_flags:
            return filled
        return filled + [c.evolve(name=f"{c.name}_filled", dtype="bool", nullable=False) for c in columns]

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        filled = super().expressions(columns, values)
        pairs = zip(columns, values, strict=True) if self.adds_flags else ()
        return filled + [map_elements(column, value, pl.Expr.is_null) for column, value in pairs]

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        import tensorflow as tf

        filled = super().tensorflow(columns, resources)

        def null(x: TensorColumn) -> TensorColumn:
            mask = tf.zeros_like(x.values, tf.bool) if x.valid is None else tf.logical_not(x.valid)
            return x.evolve(values=mask, valid=None)

        return lambda values: filled(values) + ([null(x) for x in values] if self.adds_flags else [])

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        dtype = to_polars(self.column(column).dtype)
        return x.cast(dtype).fill_null(pl.lit(self.fill(column), dtype=dtype))

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        dtype = self.column(column).dtype

        def fill(x: TensorColumn) -> TensorColumn:
            values = tf.cast(x.values, dtype)
            if x.valid is not None:
                values = tf.where(x.valid, values, tf.constant(self.fill(column), dtype))
            return x.evolve(values=values, valid=None)

        return fill


@dataclass(repr=False)
class FillMissing(Fill):
    """Replace nulls, and NaN, which counts as null, by a value. In list columns, null elements are replaced.

    Columns keep their dtype. NVTabular's `FillMissing` has `fill_val` and the same `add_binary_cols`.

    Args:
        value: the value for nulls; it must be a value of the columns' dtype.
        add_binary_cols: whether to add a boolean column `x_filled` per column `x`, true where a null was filled.

    Raises:
        SchemaError: (in fit) `value` is not a value of a column's dtype.

    Example:

    >>> ages = ["age", "income"] >> FillMissing(0)
    """

    value: bool | int | float | str = 0
    add_binary_cols: bool = False

    def column(self, column: Column) -> Column:
        self.fill(column)
        return column.evolve(nullable=False)

    def fill(self, column: Column) -> Any:
        return to_dtype(self.value, column, "FillMissing")
