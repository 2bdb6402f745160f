"""Follow the regularised leader, updating only the rows a batch touched."""

from __future__ import annotations

import keras
from keras import ops

from kerasrec._keras import slot
from kerasrec.optimizers.base import TableOptimizer
from kerasrec.optimizers.sparse import Rows
from kerasrec.typing import Tensor, Variable


@keras.saving.register_keras_serializable("kerasrec")
class Ftrl(TableOptimizer, keras.optimizers.Ftrl):
    """Keras's Ftrl, lazy for embedding tables.

    A row is recomputed from its accumulator and linear term in steps that look it up. Keras's recomputes every row
    in every step, which sets rows that were never looked up to zero in the first one; here a row keeps its
    initial value until it is looked up. Arguments are Keras's.

    Example:

    >>> model.compile(optimizer=kr.optimizers.Ftrl(0.05), loss="binary_crossentropy")

    Source: McMahan et al., "Ad Click Prediction: a View from the Trenches" (KDD 2013).
    """

    def update_rows(self, at: Rows, table: Variable, gradient: Tensor, learning_rate: Tensor) -> None:
        weights = at.read(table)
        accumulators, linears = slot(self, "accumulator", at.index), slot(self, "linear", at.index)
        accumulator, linear = at.read(accumulators), at.read(linears)
        power = -self.learning_rate_power
        new_accumulator = accumulator + gradient * gradient
        sigma = (ops.power(new_accumulator, power) - ops.power(accumulator, power)) / learning_rate
        linear += gradient + 2 * self.l2_shrinkage_regularization_strength * weights - sigma * weights
        l2 = self.l2_regularization_strength + self.beta / (2 * learning_rate)
        quadratic = ops.power(new_accumulator, power) / learning_rate + 2 * l2
        l1 = self.l1_regularization_strength
        at.write(accumulators, new_accumulator)
        at.write(linears, linear)
        at.write(table, (ops.clip(linear, -l1, l1) - linear) / quadratic)
