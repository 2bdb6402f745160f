"""Lookups of distinct rows, whose gradients are known by their type to be distinct. TensorFlow only.

A row that is looked up several times has several gradients, which an optimizer that is not linear in them must add
up before it may update the row: a `tf.unique` and a sum over all lookups. Layers look each row of a batch up once,
and the optimizer need not search for repeated rows in what is distinct by construction.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kerasrec.typing import Tensor


class DistinctRows(tf.IndexedSlices):
    """The gradient of a table of which some rows were looked up, each of them once: all other rows have none.

    The type says so and nothing else need be known. Where TensorFlow adds the gradients of two lookups of one
    table, or rebuilds a gradient that leaves a `tf.function`, it makes plain `tf.IndexedSlices`: those of which
    nothing is known, so that an optimizer adds up what may be repeated.
    """


def gather_distinct(variable: tf.Variable, rows: Tensor) -> Tensor:
    """Return rows of a variable (rows, ...), whose gradient is a `DistinctRows`.

    Args:
        variable: the table.
        rows: (n,) int32 or int64, each of them once.
    """
    vectors = variable.sparse_read(rows)
    # For gradient tapes alone: a graph's own gradients, which leave it as plain tensors, need no type, and a
    # SavedModel has nothing of this.
    tf.__internal__.record_gradient(_GRADIENT, [variable.handle, rows], (), [vectors])
    return vectors


def add_up_rows(gradient: tf.IndexedSlices) -> tuple[Tensor, Tensor]:
    """Return the distinct rows of a table's gradient, (n,), and the whole gradient of each, (n, dim)."""
    if isinstance(gradient, DistinctRows):
        return gradient.indices, gradient.values
    rows, position = tf.unique(gradient.indices)
    return rows, tf.math.unsorted_segment_sum(gradient.values, position, tf.size(rows))


def _gather_gradient(op: Any, upstream: Tensor | tf.IndexedSlices) -> list[DistinctRows | None]:
    table, rows = op.inputs
    gradients = tf.convert_to_tensor(upstream)  # where vectors were gathered again, that is an `IndexedSlices` too
    return [DistinctRows(gradients, rows, tf.raw_ops.VariableShape(input=table)), None]


_GRADIENT = "KerasrecGatherDistinct"
tf.RegisterGradient(_GRADIENT)(_gather_gradient)
