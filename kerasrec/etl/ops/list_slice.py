"""ListSlice: keeps a slice of each list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from kerasrec.etl.operator.operator import Operator
from kerasrec.etl.sources.types import column_type, to_dtype, to_polars
from kerasrec.schema import Column, Hotness, SchemaError

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class ListSlice(Operator):
    """Keep the elements of each list from `start` up to `end`, like Python's `x[start:end]`.

    `ListSlice(10)` keeps the first 10, `ListSlice(1, 11)` the 10 after the first, `ListSlice(-10)` the last 10.
    Dtypes stay the same. The schema's `hotness` is computed from that of the complete lists, the mean only
    roughly; add `ValueCount` to count the new lengths. NVTabular's `ListSlice` has the same arguments,
    except for `pad_side`: it pads on the right.

    Args:
        start: the first element to keep, counted from the end if negative; if it is the only argument and not
            negative, it is `end`.
        end: the first element after the slice.
        pad: whether to pad shorter lists, so that all have the same length, which the schema notes; `start` and
            `end` must then both count from the beginning, or both from the end.
        pad_value: the value to pad with, of the elements' dtype.
        pad_side: "right" pads after the last element, "left" before the first one, as some models of sequences
            want it: the last element is then the most recent one.

    Raises:
        ValueError: a slice that is always empty, or one that cannot be padded; another `pad_side`.
        SchemaError: (in fit) a column that is not one of lists; a `pad_value` that is not of its dtype.

    Example:

    >>> history = ["history"] >> Categorify() >> ListSlice(-20, pad=True, pad_side="left")
    """

    start: int
    end: int | None = None
    pad: bool = False
    pad_value: bool | int | float | str = 0
    pad_side: Literal["left", "right"] = "right"

    def __post_init__(self) -> None:
        if self.pad_side not in ("left", "right"):
            raise ValueError(f'ListSlice: pad_side must be "left" or "right"; got {self.pad_side!r}')
        if self.end is None and self.start >= 0:
            self.start, self.end = 0, self.start
        same_side = self.end is None or (self.start < 0) == (self.end < 0)
        if self.end == 0 or (same_side and self._max_length is not None and self._max_length <= 0):
            raise ValueError(f"ListSlice: the slice from {self.start} up to {self.end} is always empty")
        if self.pad and not same_side:
            raise ValueError(
                f"ListSlice: pad=True needs start and end on the same side; got {self.start} and {self.end}"
            )

    @property
    def _max_length(self) -> int | None:
        """The greatest length of a slice, where it is known."""
        if self.end is None:
            return -self.start
        return self.end - self.start if (self.start < 0) == (self.end < 0) else None

    def _length(self, length: int) -> int:
        return len(range(length)[self.start : self.end])

    def output(self, columns: Sequence[Column]) -> list[Column]:
        return [self._column(column) for column in columns]

    def _column(self, column: Column) -> Column:
        if not column.is_list:
            raise SchemaError(f"column {column.name!r} is {column.dtype}: ListSlice takes list columns")
        if self.pad:
            to_dtype(self.pad_value, column, "ListSlice")
            assert self._max_length is not None
            return column.evolve(hotness=Hotness(self._max_length, float(self._max_length), self._max_length))
        if (hot := column.hotness) is None:
            return column
        if self.end is not None and self.start < 0 < self.end:
            return column.evolve(hotness=None)  # the slice may get longer or shorter with the list
        shortest, longest = self._length(hot.min), self._length(hot.max)
        mean = float(min(max(self._length(round(hot.mean)), shortest), longest))
        return column.evolve(hotness=Hotness(shortest, mean, longest))

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return [self._expression(x, column) for x, column in zip(values, columns, strict=True)]

    def _expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        length = x.list.len().cast(pl.Int64)
        first = _position(length, self.start)
        last = length if self.end is None else _position(length, self.end)
        x = x.list.slice(first, (last - first).clip(0))
        if not self.pad:
            return x
        value = pl.Series([to_dtype(self.pad_value, column, "ListSlice")], dtype=to_polars(column.dtype))
        fill = pl.lit(
            pl.Series([value.extend_constant(value[0], (self._max_length or 1) - 1)], dtype=column_type(column))
        )
        if self.pad_side == "left":
            return pl.concat_list(fill.first(), x).list.tail(self._max_length or 1)
        return x.list.concat(fill.first()).list.head(self._max_length or 1)

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        pad_values = [to_dtype(self.pad_value, column, "ListSlice") if self.pad else None for column in columns]
        return lambda values: [self._tensor(x, value) for x, value in zip(values, pad_values, strict=True)]

    def _tensor(self, x: TensorColumn, pad_value: Any) -> TensorColumn:
        import tensorflow as tf

        offsets = tf.cast(x.offsets, tf.int64)
        begins, lengths = offsets[:-1], offsets[1:] - offsets[:-1]

        def position(at: int) -> tf.Tensor:
            return tf.maximum(lengths + at, 0) if at < 0 else tf.minimum(lengths, at)

        first = position(self.start)
        kept = tf.maximum((lengths if self.end is None else position(self.end)) - first, 0)
        if self.pad:
            steps = tf.range(self._max_length, dtype=tf.int64)[None, :]
            if self.pad_side == "left":
                steps = steps - (self._max_length - kept[:, None])
            in_list = (steps >= 0) & (steps < kept[:, None])
            pad_at = tf.size(x.values, tf.int64)  # the padding value is appended after the last element
            at = tf.reshape(tf.where(in_list, (begins + first)[:, None] + steps, pad_at), [-1])
            values = tf.concat([x.values, tf.constant([pad_value], x.values.dtype)], 0)
            valid = None if x.valid is None else tf.concat([x.valid, [True]], 0)
            kept = tf.fill(tf.shape(kept), tf.constant(self._max_length, tf.int64))
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


def _position(length: pl.Expr, at: int) -> pl.Expr:
    """Return the position of index `at`, which may be negative, in a list of `length`."""
    return (length + at).clip(0) if at < 0 else pl.min_horizontal(length, pl.lit(at, pl.Int64))
