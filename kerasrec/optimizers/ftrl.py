"""Follow the regularised leader, updating only the rows a batch touched."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec._keras import slot, variable_index
from kerasrec.optimizers.base import TableOptimizer
from kerasrec.optimizers.sparse import Rows
from kerasrec.typing import LearningRate, Tensor, Variable


@keras.saving.register_keras_serializable("kerasrec")
class Ftrl(TableOptimizer, keras.optimizers.Ftrl):
    """Keras's Ftrl, lazy for embedding tables.

    A row is recomputed from its accumulator and linear term in steps that look it up. Keras's recomputes every row
    in every step, which sets rows that were never looked up to zero in the first one; here a row keeps its
    initial value until it is looked up. Arguments are Keras's, with two other defaults.

    Args:
        learning_rate: with Keras's 0.001 weights hardly move.
        initial_accumulator_value: Keras's 0.1 outweighs the gradients of a mean loss, and then a weight's first
            update sets it to almost zero, whatever its initial value. With 0 the first update starts from the
            initial value, and a weight that has had no gradient yet keeps it.
        **kwargs: Keras's other arguments.

    Example:

    >>> model.compile(optimizer=kr.optimizers.Ftrl(l1_regularization_strength=0.001), loss="binary_crossentropy")

    Source: McMahan et al., "Ad Click Prediction: a View from the Trenches" (KDD 2013).
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.02,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, learning_rate_power, initial_accumulator_value, **kwargs)

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        index = variable_index(self, variable)
        variables = variable, slot(self, "accumulator", index), slot(self, "linear", index)
        rate, gradient = (ops.cast(value, variable.dtype) for value in (learning_rate, gradient))
        weights, accumulator, linear = map(ops.convert_to_tensor, variables)
        values = self._updated(weights, accumulator, linear, gradient, rate)
        for each, value in zip(variables, values, strict=True):
            self.assign(each, value)

    def update_rows(self, at: Rows, table: Variable, gradient: Tensor, learning_rate: Tensor) -> None:
        variables = table, slot(self, "accumulator", at.index), slot(self, "linear", at.index)
        weights, accumulator, linear = map(at.read, variables)
        values = self._updated(weights, accumulator, linear, gradient, learning_rate)
        for variable, value in zip(variables, values, strict=True):
            at.write(variable, value)

    def _updated(
        self, weights: Any, accumulator: Any, linear: Any, gradient: Tensor, learning_rate: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights, accumulator and linear term after a step."""
        power = -self.learning_rate_power
        new_accumulator = accumulator + gradient * gradient
        sigma = (ops.power(new_accumulator, power) - ops.power(accumulator, power)) / learning_rate
        linear = linear + gradient + 2 * self.l2_shrinkage_regularization_strength * weights - sigma * weights
        l2 = self.l2_regularization_strength + self.beta / (2 * learning_rate)
        quadratic = ops.power(new_accumulator, power) / learning_rate + 2 * l2
        l1 = self.l1_regularization_strength
        new_weights = ops.divide_no_nan(ops.clip(linear, -l1, l1) - linear, quadratic)
        return ops.where(new_accumulator > 0, new_weights, weights), new_accumulator, linear
