"""Adagrad with one accumulator per row."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec._keras import slot, variable_index
from kerasrec.optimizers.accumulators import accumulators_of
from kerasrec.optimizers.base import TableOptimizer
from kerasrec.optimizers.sparse import Rows
from kerasrec.tables.variables import TableVariable, is_table
from kerasrec.typing import Initializer, LearningRate, Tensor, Variable


@keras.saving.register_keras_serializable("kerasrec")
class RowwiseAdagrad(TableOptimizer, keras.optimizers.Adagrad):
    """Adagrad that keeps one number per row instead of one per element: `acc_r += mean(g_r^2)`,
    `w_r -= lr * g_r / sqrt(acc_r + epsilon)`.

    For a table of width 64 the optimizer's state is 1/64 of the table. A variable counts as a table when it is a
    stack of `DistributedEmbedding` or the matrix of a `keras.layers.Embedding`; all others get ordinary Adagrad.
    Arguments and defaults are those of `kr.optimizers.Adagrad`.

    Example:

    >>> model.compile(optimizer=kr.optimizers.RowwiseAdagrad(), loss="binary_crossentropy")

    Source: the row-wise sparse Adagrad of DLRM (Naumov et al., https://arxiv.org/abs/1906.00091) and FBGEMM's
    EXACT_ROWWISE_ADAGRAD, which TorchRec trains with.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.05,
        initial_accumulator_value: float | None = None,
        epsilon: float = 1e-7,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, initial_accumulator_value or 0.0, epsilon, **kwargs)
        self.initial_accumulator_value = initial_accumulator_value

    def new_slot(self, variable: Variable, name: str, initializer: Initializer) -> Variable:
        if isinstance(variable, TableVariable) and (cut := variable.shards.column_wise_tables):
            raise ValueError(
                f"RowwiseAdagrad is not supported for column-wise tables: it keeps one number for all columns of "
                f"a row, but those of {cut[0]!r} are on several ranks. Use another placement, or Adagrad"
            )
        initializer = accumulators_of(variable, self.initial_accumulator_value)
        if not is_table(variable):
            return super().new_slot(variable, name, initializer)
        return self.add_variable((variable.shape[0], 1), initializer, variable.dtype, name=f"row_{name}")

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        accumulator = slot(self, "accumulator", variable_index(self, variable))
        if tuple(accumulator.shape) == tuple(variable.shape):
            super().update_step(gradient, variable, learning_rate)
            return
        gradient = ops.cast(gradient, variable.dtype)
        self.assign_add(accumulator, ops.mean(ops.square(gradient), axis=-1, keepdims=True))
        step = ops.cast(learning_rate, variable.dtype) * gradient
        self.assign_sub(variable, step / ops.sqrt(ops.add(accumulator, self.epsilon)))

    def update_rows(self, at: Rows, table: Variable, gradient: Tensor, learning_rate: Tensor) -> None:
        accumulator = slot(self, "accumulator", at.index)
        accumulated = at.read(accumulator) + ops.mean(gradient * gradient, axis=-1, keepdims=True)
        at.write(accumulator, accumulated)
        at.write(table, at.read(table) - learning_rate * gradient * ops.rsqrt(accumulated + self.epsilon))
