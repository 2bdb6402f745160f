"""Gradient descent that updates only the rows a batch touched."""

from __future__ import annotations

from typing import Any

import keras

from kerasrec.optimizers.base import TableOptimizer
from kerasrec.optimizers.sparse import Rows
from kerasrec.typing import LearningRate, Tensor, Variable


@keras.saving.register_keras_serializable("kerasrec")
class SGD(TableOptimizer, keras.optimizers.SGD):
    """Keras's SGD, row by row for embedding tables.

    `w -= lr * g` is exact: a row with no gradient does not change. With momentum it is lazy: `m = momentum * m -
    lr * g`, `w += m` (or, for Nesterov, `w += momentum * m - lr * g`) are computed only in steps that look the row
    up; other rows neither move nor lose their momentum. Arguments are Keras's, with another default learning rate.
    One rate for all rows suits tables badly, of which some rows are looked up a thousand times as often as others:
    `kr.optimizers.Adagrad` learns more from the same data.

    Args:
        learning_rate: with Keras's 0.01 nothing is learned in an epoch; with 1.0 a regression may diverge.
        momentum, nesterov, **kwargs: as in Keras.

    Example:

    >>> model.compile(optimizer=kr.optimizers.SGD(0.1, momentum=0.9), loss="binary_crossentropy")

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning" (ICML 2013).
    """

    def __init__(
        self, learning_rate: LearningRate = 0.1, momentum: float = 0.0, nesterov: bool = False, **kwargs: Any
    ):
        super().__init__(learning_rate, momentum, nesterov, **kwargs)

    def update_rows(self, at: Rows, table: Variable, gradient: Tensor, learning_rate: Tensor) -> None:
        step = -learning_rate * gradient
        if self.momentum:
            velocity = self.momentum * at.read(self.momentums[at.index]) + step
            at.write(self.momentums[at.index], velocity)
            step = self.momentum * velocity + step if self.nesterov else velocity
        at.write(table, at.read(table) + step)
