"""Gradient descent that updates only the rows a batch touched."""

from __future__ import annotations

import keras

from kerasrec.optimizers.base import TableOptimizer
from kerasrec.optimizers.sparse import Rows
from kerasrec.typing import Tensor, Variable


@keras.saving.register_keras_serializable("kerasrec")
class SGD(TableOptimizer, keras.optimizers.SGD):
    """Keras's SGD, row by row for embedding tables.

    `w -= lr * g` is exact: a row with no gradient does not change. With momentum it is lazy: `m = momentum * m -
    lr * g`, `w += m` (or, for Nesterov, `w += momentum * m - lr * g`) are computed only in steps that look the row
    up; other rows neither move nor lose their momentum. Arguments are Keras's.

    Example:

    >>> model.compile(optimizer=kr.optimizers.SGD(0.1, momentum=0.9), loss="binary_crossentropy")

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning" (ICML 2013).
    """

    def update_rows(self, at: Rows, table: Variable, gradient: Tensor, learning_rate: Tensor) -> None:
        step = -learning_rate * gradient
        if self.momentum:
            velocity = self.momentum * at.read(self.momentums[at.index]) + step
            at.write(self.momentums[at.index], velocity)
            step = self.momentum * velocity + step if self.nesterov else velocity
        at.write(table, at.read(table) + step)
