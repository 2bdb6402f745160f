"""Adagrad that updates only the rows a batch touched."""

from __future__ import annotations

from typing import Any

import keras

from kerasrec.optimizers.sparse import is_sparse, raw, unique_rows


@keras.saving.register_keras_serializable("kerasrec")
class Adagrad(keras.optimizers.Adagrad):
    """Keras's Adagrad, row by row for embedding tables.

    `acc += g^2`, `w -= lr * g / sqrt(acc + epsilon)`. A row with no gradient has `g = 0` and stays as it is, so
    updating the touched rows alone is exact: weights equal `keras.optimizers.Adagrad`'s. Arguments are Keras's.

    Example:

    >>> model.compile(optimizer=kr.optimizers.Adagrad(0.01), loss="binary_crossentropy")

    Source: Duchi, Hazan, Singer, "Adaptive Subgradient Methods" (JMLR 2011).
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not is_sparse(gradient):
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        table = raw(variable)
        accumulator = raw(self._accumulators[self._get_variable_index(variable)])
        rows, gradient = unique_rows(gradient)
        gradient = tf.cast(gradient, table.dtype)
        accumulated = tf.gather(accumulator, rows) + tf.square(gradient)
        accumulator.scatter_update(tf.IndexedSlices(accumulated, rows))
        step = tf.cast(learning_rate, table.dtype) * gradient / tf.sqrt(accumulated + self.epsilon)
        table.scatter_sub(tf.IndexedSlices(step, rows))
