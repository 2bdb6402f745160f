"""FillMissing: a value for nulls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.elementwise import Elementwise, each
from kerasrec.etl.sources.types import to_dtype, to_polars
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class Fill(Elementwise):
    """What the operators that fill nulls share: `fill` says with what."""

    def fill(self, column: Column) -> Any:
        """The value for nulls of `column`, of the type that `column()` says."""
        raise NotImplementedError

    @property
    def tells(self) -> bool:
        """Whether a second column says which values were filled."""
        return bool(self.settings["add_binary_cols"])

    def output_names(self, names: list[str]) -> list[str]:
        return [*names, *(f"{name}_filled" for name in names)] if self.tells else list(names)

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        made = self.output_names(names)
        return {output: [name] for output, name in zip(made, names * (len(made) // len(names)), strict=True)}

    def output(self, columns: Sequence[Column]) -> list[Column]:
        filled = [self.column(column) for column in columns]
        if not self.tells:
            return filled
        return filled + [c.evolve(name=f"{c.name}_filled", dtype="bool", nullable=False) for c in columns]

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        filled = super().expressions(columns, values)
        pairs = zip(columns, values, strict=True) if self.tells else ()
        return filled + [each(column, value, pl.Expr.is_null) for column, value in pairs]

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        import tensorflow as tf

        filled = super().tensorflow(columns, resources)

        def null(x: TensorColumn) -> TensorColumn:
            mask = tf.zeros_like(x.values, tf.bool) if x.valid is None else tf.logical_not(x.valid)
            return x.evolve(values=mask, valid=None)

        return lambda values: filled(values) + ([null(x) for x in values] if self.tells else [])

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
    """Replaces nulls (and NaN, which counts as null) by a value; in a list column, null elements.

    NVTabular's `FillMissing` takes `fill_val`; the column of flags has the same name there.

    Args:
        value: what to put there; it must be a value of the columns' own type, which stays as it is.
        add_binary_cols: whether each column `x` is followed by one `x_filled`, 1 where a null was filled, else 0.

    Raises (when fitted):
        SchemaError: `value` is none of a column's type.

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
