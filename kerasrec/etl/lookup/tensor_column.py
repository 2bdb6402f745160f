"""A column as TensorFlow tensors, which the served implementations of operators take and return.

TensorFlow is imported only when one of the functions is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class TensorColumn:
    """A column as tensors.

    Attributes:
        values: (n,), the elements; undefined where `valid` is false.
        valid: (n,) bool, false for a null; None where the column has no nulls.
        offsets: of a list column, (batch + 1,) int64: row i is `values[offsets[i]:offsets[i + 1]]`.
    """

    values: tf.Tensor
    valid: tf.Tensor | None = None
    offsets: tf.Tensor | None = None

    def evolve(self, **changes: Any) -> TensorColumn:
        """Return this column with some tensors replaced."""
        return replace(self, **changes)


def any_valid(columns: Sequence[TensorColumn]) -> tf.Tensor | None:
    """Return where at least one of the columns is not null; None where one of them has no nulls."""
    import tensorflow as tf

    masks = [column.valid for column in columns if column.valid is not None]
    return tf.reduce_any(tf.stack(masks), axis=0) if len(masks) == len(columns) else None


def table_key(values: tf.Tensor) -> tf.Tensor:
    """Return values as keys of a lookup table: strings, or int64 that differ wherever the values differ."""
    import tensorflow as tf

    if values.dtype == tf.string:
        return values
    return tf.bitcast(values, tf.int64) if values.dtype == tf.uint64 else tf.cast(values, tf.int64)
