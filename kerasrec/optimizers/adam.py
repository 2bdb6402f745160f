"""Lazy Adam and AdamW: moments move only where a batch touched the row."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec._keras import decays, slot
from kerasrec.optimizers.base import TableOptimizer
from kerasrec.optimizers.sparse import Rows
from kerasrec.typing import LearningRate, Tensor, Variable


class _LazyAdam(TableOptimizer):
    decays_rows = True

    def update_rows(self, at: Rows, table: Variable, gradient: Tensor, learning_rate: Tensor) -> None:
        step = ops.cast(self.iterations + 1, gradient.dtype)
        momentums, velocities = slot(self, "momentum", at.index), slot(self, "velocity", at.index)
        momentum = at.read(momentums)
        momentum += (gradient - momentum) * (1 - self.beta_1)
        at.write(momentums, momentum)
        velocity = at.read(velocities)
        velocity += (gradient * gradient - velocity) * (1 - self.beta_2)
        at.write(velocities, velocity)
        if self.amsgrad:
            velocity_hats = slot(self, "velocity_hat", at.index)
            velocity = ops.maximum(at.read(velocity_hats), velocity)
            at.write(velocity_hats, velocity)
        weights = at.read(table)
        if self.weight_decay and decays(self, table):
            weights -= weights * self.weight_decay * learning_rate
        bias_1, bias_2 = (1 - ops.power(ops.cast(beta, step.dtype), step) for beta in (self.beta_1, self.beta_2))
        alpha = learning_rate * ops.sqrt(bias_2) / bias_1
        at.write(table, weights - alpha * momentum / (ops.sqrt(velocity) + self.epsilon))


@keras.saving.register_keras_serializable("kerasrec")
class Adam(_LazyAdam, keras.optimizers.Adam):
    """Keras's Adam, lazy for embedding tables.

    A row's moments and weight decay change only in steps that look the row up; the bias correction counts all
    steps. Keras's Adam updates every row in every step, since old moments still move rows that are not looked up:
    the results are close, not equal. Arguments are Keras's, with another default learning rate.

    Args:
        learning_rate: Keras's 0.001 is too small for embeddings, of which a row is looked up in few steps.
        beta_1, beta_2, epsilon, amsgrad, **kwargs: as in Keras.

    Example:

    >>> model.compile(optimizer=kr.optimizers.Adam(), loss="binary_crossentropy")

    Source: Kingma, Ba, "Adam" (ICLR 2015); the lazy form is TensorFlow Addons' LazyAdam and PyTorch's SparseAdam.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, **kwargs)


@keras.saving.register_keras_serializable("kerasrec")
class AdamW(_LazyAdam, keras.optimizers.AdamW):
    """Keras's AdamW, lazy for embedding tables as `kr.optimizers.Adam` is: a row decays when it is looked up.

    Args:
        learning_rate: as of `kr.optimizers.Adam`.
        weight_decay, **kwargs: as in Keras.

    Example:

    >>> model.compile(optimizer=kr.optimizers.AdamW(weight_decay=0.004), loss="binary_crossentropy")

    Source: Loshchilov, Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019).
    """

    def __init__(self, learning_rate: LearningRate = 0.01, weight_decay: float = 0.004, **kwargs: Any):
        super().__init__(learning_rate, weight_decay, **kwargs)
