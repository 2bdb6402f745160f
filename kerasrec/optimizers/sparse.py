"""Gradients of table lookups, and reading and writing a few rows of a large variable."""

from __future__ import annotations

from typing import Any

import keras


def is_sparse(gradient: Any) -> bool:
    """Whether a gradient names the rows it is for: TensorFlow's `tf.IndexedSlices`."""
    return hasattr(gradient, "indices") and hasattr(gradient, "dense_shape")


def unique_rows(gradient: Any) -> tuple[Any, Any]:
    """The distinct rows of a sparse gradient and each row's whole gradient: (n,) and (n, dim).

    A row looked up several times has several gradients; an optimizer that is not linear in the gradient needs
    their sum. `DistributedEmbedding` looks distinct rows up, and then there is nothing to sum.
    """
    import tensorflow as tf

    if _came_from_unique(gradient.indices):
        return gradient.indices, gradient.values
    rows, position = tf.unique(gradient.indices)
    return rows, tf.math.unsorted_segment_sum(gradient.values, position, tf.size(rows))


def _came_from_unique(indices: Any) -> bool:
    """Whether the graph itself shows that indices are distinct: they are what a Unique operation put out."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    while indices.op.type in ("Reshape", "Identity", "Cast"):
        indices = indices.op.inputs[0]
    return indices.op.type in ("Unique", "KerasrecDistinctRows")


class Rows:
    """Some distinct rows of a table, and of every optimizer variable that has as many rows."""

    def __init__(self, rows: Any, index: int):
        self.rows = rows
        self.index = index  # which of the optimizer's variables the table is

    def read(self, variable: Any) -> Any:
        import tensorflow as tf

        return tf.gather(raw(variable), self.rows)

    def write(self, variable: Any, values: Any) -> None:
        """Replace the rows. To read, compute and replace is several times cheaper on a CPU than TensorFlow's
        scatter-subtract or its fused sparse updates, which go element by element on one core."""
        import tensorflow as tf

        variable = raw(variable)
        values = tf.cast(values, variable.dtype)
        tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=self.rows, updates=values)


def raw(variable: Any) -> Any:
    """The `tf.Variable` of what Keras hands an optimizer: a Keras variable or the raw one."""
    return variable.value if isinstance(variable, keras.Variable) else variable
