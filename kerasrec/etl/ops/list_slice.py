"""ListSlice: a part of each list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.operator import Operator
from kerasrec.etl.sources.types import column_type, to_dtype, to_polars
from kerasrec.schema import Column, Hotness, SchemaError

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class ListSlice(Operator):
    """Each list's elements from `start` up to `end`, as Python's `x[start:end]`: `ListSlice(10)` keeps the first
    10, `ListSlice(1, 11)` the 10 after the first, `ListSlice(-10)` the last 10.

    As NVTabular's `ListSlice`; `pad_value` must be of the elements' type here. The schema's `hotness` is worked
    out from that of whole lists, its mean roughly; put `ValueCount` after it to have the new lengths counted.

    Args:
        start: the first element to keep, counted from the end where negative; alone and not negative, the end.
        end: the first element that is not kept.
        pad: whether shorter lists are filled up at their end, so that all have one length. `start` and `end` must
            then count from the same end.
        pad_value: with what.

    Raises:
        ValueError: a slice that holds nothing, or one that cannot be padded.
        SchemaError: (when fitted) a column that holds no lists; a `pad_value` that is none of its type.

    Example:

    >>> history = ["history"] >> Categorify() >> ListSlice(-20, pad=True)
    """

    start: int
    end: int | None = None
    pad: bool = False
    pad_value: bool | int | float | str = 0

    def __post_init__(self) -> None:
        if self.end is None and self.start >= 0:
            self.start, self.end = 0, self.start
        same_side = self.end is None or (self.start < 0) == (self.end < 0)
        if self.end == 0 or (same_side and self._most is not None and self._most <= 0):
            raise ValueError(f"ListSlice: nothing lies from {self.start} up to {self.end}")
        if self.pad and not same_side:
            raise ValueError(
                f"ListSlice: lists cannot be padded where {self.start} to {self.end} has no set length"
            )

    @property
    def _most(self) -> int | None:
        """The most elements that a slice can hold, where that is known."""
        if self.end is None:
            return -self.start
        return self.end - self.start if (self.start < 0) == (self.end < 0) else None

    def _length(self, length: int) -> int:
        return len(range(length)[self.start : self.end])

    def output(self, columns: Sequence[Column]) -> list[Column]:
        return [self._column(column) for column in columns]

    def _column(self, column: Column) -> Column:
        if not column.is_list:
            raise SchemaError(f"column {column.name!r} is {column.dtype}: ListSlice takes columns of lists")
        if self.pad:
            to_dtype(self.pad_value, column, "ListSlice")
            assert self._most is not None
            return column.evolve(hotness=Hotness(self._most, float(self._most), self._most))
        if (hot := column.hotness) is None:
            return column
        if self.end is not None and self.start < 0 < self.end:
            return column.evolve(hotness=None)  # the longer the list, the longer or the shorter such a slice
        least, most = self._length(hot.min), self._length(hot.max)
        mean = float(min(max(self._length(round(hot.mean)), least), most))
        return column.evolve(hotness=Hotness(least, mean, most))

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return [self._expression(x, column) for x, column in zip(values, columns, strict=True)]

    def _expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        length = x.list.len().cast(pl.Int64)
        first = _place(length, self.start)
        last = length if self.end is None else _place(length, self.end)
        x = x.list.slice(first, (last - first).clip(0))
        if not self.pad:
            return x
        value = pl.Series([to_dtype(self.pad_value, column, "ListSlice")], dtype=to_polars(column.dtype))
        fill = pl.lit(
            pl.Series([value.extend_constant(value[0], (self._most or 1) - 1)], dtype=column_type(column))
        )
        return x.list.concat(fill.first()).list.head(self._most or 1)

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        values = [to_dtype(self.pad_value, column, "ListSlice") if self.pad else None for column in columns]
        return lambda given: [self._tensor(x, value) for x, value in zip(given, values, strict=True)]

    def _tensor(self, x: TensorColumn, pad_value: Any) -> TensorColumn:
        import tensorflow as tf

        offsets = tf.cast(x.offsets, tf.int64)
        begins, lengths = offsets[:-1], offsets[1:] - offsets[:-1]

        def place(at: int) -> tf.Tensor:
            return tf.maximum(lengths + at, 0) if at < 0 else tf.minimum(lengths, at)

        first = place(self.start)
        kept = tf.maximum((lengths if self.end is None else place(self.end)) - first, 0)
        if self.pad:
            steps = tf.range(self._most, dtype=tf.int64)[None, :]
            real = steps < kept[:, None]
            nowhere = tf.size(x.values, tf.int64)  # one past the last element, where the padding is put
            at = tf.reshape(tf.where(real, (begins + first)[:, None] + steps, nowhere), [-1])
            values = tf.concat([x.values, tf.constant([pad_value], x.values.dtype)], 0)
            valid = None if x.valid is None else tf.concat([x.valid, [True]], 0)
            kept = tf.fill(tf.shape(kept), tf.constant(self._most, tf.int64))
        else:
            at, values, valid = (
                tf.ragged.range(begins + first, begins + first + kept).flat_values,
                x.values,
                x.valid,
            )
        return x.evolve(
            values=tf.gather(values, at),
            valid=None if valid is None else tf.gather(valid, at),
            offsets=tf.concat([[tf.constant(0, tf.int64)], tf.cumsum(kept)], 0),
        )


def _place(length: pl.Expr, at: int) -> pl.Expr:
    """Where index `at` falls in a list of `length`."""
    return (length + at).clip(0) if at < 0 else pl.min_horizontal(length, pl.lit(at, pl.Int64))
