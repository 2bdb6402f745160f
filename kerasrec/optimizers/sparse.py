"""Gradients of table lookups: a few rows of a large variable (TensorFlow's `tf.IndexedSlices`)."""

from __future__ import annotations

from typing import Any

import keras


def is_sparse(gradient: Any) -> bool:
    """Whether a gradient names the rows it is for."""
    return hasattr(gradient, "indices") and hasattr(gradient, "dense_shape")


def unique_rows(gradient: Any) -> tuple[Any, Any]:
    """The distinct rows of a sparse gradient and each row's whole gradient: (n,) and (n, dim).

    A row looked up several times has several gradients; an optimizer that is not linear in the gradient needs
    their sum before it squares it.
    """
    import tensorflow as tf

    rows, position = tf.unique(gradient.indices)
    return rows, tf.math.unsorted_segment_sum(gradient.values, position, tf.size(rows))


def raw(variable: Any) -> Any:
    """The `tf.Variable` of what Keras hands an optimizer: a Keras variable or the raw one."""
    return variable.value if isinstance(variable, keras.Variable) else variable
