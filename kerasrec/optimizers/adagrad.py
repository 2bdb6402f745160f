"""Adagrad that updates only the rows a batch touched."""

from __future__ import annotations

from typing import Any

import keras

from kerasrec import kernels
from kerasrec.optimizers.base import TableOptimizer
from kerasrec.optimizers.sparse import Rows, raw


@keras.saving.register_keras_serializable("kerasrec")
class Adagrad(TableOptimizer, keras.optimizers.Adagrad):
    """Keras's Adagrad, row by row for embedding tables.

    `acc += g^2`, `w -= lr * g / sqrt(acc + epsilon)`. A row with no gradient has `g = 0` and stays as it is, so
    updating the touched rows alone is exact: the weights are those of `keras.optimizers.Adagrad` on dense
    gradients. Arguments are Keras's.

    Example:

    >>> model.compile(optimizer=kr.optimizers.Adagrad(0.01), loss="binary_crossentropy")

    Source: Duchi, Hazan, Singer, "Adaptive Subgradient Methods" (JMLR 2011).
    """

    def update_rows(self, at: Rows, table: Any, gradient: Any, learning_rate: Any) -> None:
        accumulator = self._accumulators[at.index]
        if kernels.adagrad_rows(raw(table), raw(accumulator), at.rows, gradient, learning_rate, self.epsilon):
            return
        accumulated = at.read(accumulator) + gradient * gradient
        at.write(accumulator, accumulated)
        step = learning_rate * gradient * keras.ops.rsqrt(accumulated + self.epsilon)
        at.write(table, at.read(table) - step)
