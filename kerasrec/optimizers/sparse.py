"""Reading and writing a few rows of a large variable, as the gradients of table lookups need it."""

from __future__ import annotations

from typing import Any

import keras

from kerasrec.typing import Tensor, Variable


def is_sparse(gradient: Any) -> bool:
    """Return whether a gradient is of some rows of a table: TensorFlow's `tf.IndexedSlices`."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return isinstance(gradient, tf.IndexedSlices)


class Rows:
    """Distinct rows of a table, which every optimizer variable of as many rows has as well.

    Args:
        rows: (n,), each of them once.
        index: the table's place among the variables that the optimizer trains.
    """

    def __init__(self, rows: Tensor, index: int):
        self.rows = rows
        self.index = index

    def read(self, variable: Variable) -> Tensor:
        """Return the rows of a variable, (n, columns)."""
        import tensorflow as tf

        return tf.gather(raw(variable), self.rows)

    def write(self, variable: Variable, values: Tensor) -> None:
        """Replace the rows. To read, compute and replace is several times cheaper on a CPU than TensorFlow's
        scatter-subtract or its fused sparse updates, which go element by element on one core."""
        import tensorflow as tf

        variable = raw(variable)
        values = tf.cast(values, variable.dtype)
        tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=self.rows, updates=values)


def raw(variable: Variable) -> Any:
    """Return the `tf.Variable` of what Keras gives an optimizer: a Keras variable or the raw one."""
    return variable.value if isinstance(variable, keras.Variable) else variable
