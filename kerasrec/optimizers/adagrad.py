"""Adagrad that updates only the rows a batch touched."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec import kernels
from kerasrec._keras import optimized_variables, slot, variable_index
from kerasrec.optimizers.accumulators import DENSE, accumulators_of
from kerasrec.optimizers.base import TableOptimizer
from kerasrec.optimizers.sparse import Rows, raw
from kerasrec.tables.variables import is_table
from kerasrec.typing import Initializer, LearningRate, Tensor, Variable


@keras.saving.register_keras_serializable("kerasrec")
class Adagrad(TableOptimizer, keras.optimizers.Adagrad):
    """Keras's Adagrad, row by row for embedding tables.

    `acc += g^2`, `w -= lr * g / sqrt(acc + epsilon)`. A row with no gradient has `g = 0` and stays as it is, so
    updating the touched rows alone is exact: the weights are those of `keras.optimizers.Adagrad` on dense
    gradients. Arguments are Keras's, with two other defaults.

    Args:
        learning_rate: 0.05 did best over the library's models and data; with Keras's 0.001 weights hardly move.
        initial_accumulator_value: what `acc` begins with; by default 0 for embedding tables, as in PyTorch, and
            1e-5 for other weights. With Keras's 0.1, more than the squared gradients of thousands of batches add
            up to, the rows of tables hardly move. With 0 the first step moves every weight by the learning rate,
            which wide layers may not survive: all of their outputs are 0 from then on.
        epsilon: bounds the step of a row whose gradients are tiny.
        dense_factor: the learning rate of weights that are not tables, as a multiple of `learning_rate`.
        dense_accumulator: what the accumulators of weights that are not tables begin with, unless
            `initial_accumulator_value` is given.
        **kwargs: Keras's other arguments.

    Example:

    >>> model.compile(optimizer=kr.optimizers.Adagrad(0.1, dense_factor=0.2), loss="binary_crossentropy")

    Raises:
        ValueError: `dense_factor` is not above 0.

    Source: Duchi, Hazan, Singer, "Adaptive Subgradient Methods" (JMLR 2011).
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.05,
        initial_accumulator_value: float | None = None,
        epsilon: float = 1e-7,
        dense_factor: float = 1.0,
        dense_accumulator: float = DENSE,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, initial_accumulator_value or 0.0, epsilon, **kwargs)
        self.initial_accumulator_value = initial_accumulator_value
        if not dense_factor > 0:
            raise ValueError(f"{self.name}: dense_factor must be > 0; got {dense_factor!r}")
        self.dense_factor, self.dense_accumulator = dense_factor, dense_accumulator

    def new_slot(self, variable: Variable, name: str, initializer: Initializer) -> Variable:
        return super().new_slot(
            variable, name, accumulators_of(variable, self.initial_accumulator_value, self.dense_accumulator)
        )

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        if self.dense_factor != 1 and not is_table(optimized_variables(self)[variable_index(self, variable)]):
            learning_rate = learning_rate * self.dense_factor
        super().update_step(gradient, variable, learning_rate)

    def update_rows(self, at: Rows, table: Variable, gradient: Tensor, learning_rate: Tensor) -> None:
        accumulator = slot(self, "accumulator", at.index)
        if kernels.adagrad_rows(raw(table), raw(accumulator), at.rows, gradient, learning_rate, self.epsilon):
            return
        accumulated = at.read(accumulator) + gradient * gradient
        at.write(accumulator, accumulated)
        step = learning_rate * gradient * ops.rsqrt(accumulated + self.epsilon)
        at.write(table, at.read(table) - step)

    def get_config(self) -> dict[str, Any]:
        dense = {"dense_factor": self.dense_factor, "dense_accumulator": self.dense_accumulator}
        return {**super().get_config(), **dense}
