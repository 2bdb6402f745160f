"""Several stacks of dense layers of equal widths, computed together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers.mlp import at_least_one, widths
from kerasrec.typing import Activation, Initializer, Regularizer, Shape, Tensor, Variable


@keras.saving.register_keras_serializable("kerasrec")
class ParallelMLP(keras.layers.Layer):
    """Applies `count` stacks of dense layers, with weights of their own, in one batched matmul per layer.

    `h_{i,l+1} = activation(h_{i,l} W_{i,l} + b_{i,l})` for each stack i: the experts of a mixture, or the towers
    of several targets.

    Args:
        count: how many stacks.
        units: the widths of each stack's layers, or the width of one layer.
        activation: of every layer.
        final_activation: of the last layer; "same" is `activation`, None is linear.
        dropout: the share of each layer's outputs that is set to 0 in training, except after a linear last layer.
        kernel_initializer, kernel_regularizer: of every matrix, as in `keras.layers.Dense`.

    Inputs: `(batch, features)`, which every stack reads; or `(batch, groups, features)` where `groups` divides
        `count`: the first `count / groups` stacks read the first group, and so on.

    Output: `(batch, count, units[-1])` in the compute dtype.

    Raises:
        ValueError: `count` or a width is below 1, `dropout` is outside [0, 1), or inputs of another shape.

    Example:

    >>> kr.layers.ParallelMLP(4, [64, 32])(np.ones((8, 13), "float32")).shape
    (8, 4, 32)
    """

    def __init__(
        self,
        count: int,
        units: int | Sequence[int],
        activation: Activation | None = "relu",
        final_activation: Activation | None = "same",
        dropout: float = 0.0,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Regularizer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.count, self.units = at_least_one(self.name, "count", count), widths(self.name, "units", units)
        if not 0 <= dropout < 1:
            raise ValueError(f"{self.name}: dropout must be in [0, 1); got {dropout!r}")
        self.activation = keras.activations.get(activation)
        self.final_activation = "same" if final_activation == "same" else keras.activations.get(final_activation)
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

        last = self.activation if self.final_activation == "same" else self.final_activation
        self._activations = [*[self.activation] * (len(self.units) - 1), last]
        self._dropouts = [
            keras.layers.Dropout(dropout, dtype=self.dtype_policy)
            if dropout and activation is not keras.activations.linear
            else None
            for activation in self._activations
        ]

    def build(self, input_shape: Shape) -> None:
        self._groups(input_shape)
        self.kernels: list[Variable] = []
        self.biases: list[Variable] = []
        width = input_shape[-1]
        for layer, units in enumerate(self.units):
            self.kernels.append(
                self.add_weight(
                    name=f"kernel_{layer}",
                    shape=(self.count, width, units),
                    initializer=self._initial_kernels,
                    regularizer=self.kernel_regularizer,
                )
            )
            self.biases.append(
                self.add_weight(name=f"bias_{layer}", shape=(self.count, 1, units), initializer="zeros")
            )
            width = units

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        # Stacks come first within: (groups, stacks of a group, batch, width), then (count, batch, width).
        groups = self._groups(inputs.shape)
        x = inputs if len(inputs.shape) == 3 else ops.expand_dims(inputs, 1)
        x = ops.expand_dims(ops.transpose(x, (1, 0, 2)), 1)
        first, *kernels = self.kernels
        x = ops.matmul(x, ops.reshape(first, (groups, self.count // groups, *first.shape[1:])))
        x = self._finish(ops.reshape(x, (self.count, -1, self.units[0])), 0, training)
        for layer, kernel in enumerate(kernels, 1):
            x = self._finish(ops.matmul(x, kernel), layer, training)
        return ops.transpose(x, (1, 0, 2))

    def _finish(self, x: Tensor, layer: int, training: bool | None) -> Tensor:
        x = self._activations[layer](x + self.biases[layer])
        dropout = self._dropouts[layer]
        return x if dropout is None else dropout(x, training=training)

    def _groups(self, shape: Shape) -> int:
        """Return how many inputs there are. Raises `ValueError` for a shape that does not fit."""
        groups = shape[1] if len(shape) == 3 else 1
        if len(shape) not in (2, 3) or shape[-1] is None or not groups or self.count % groups:
            raise ValueError(
                f"{self.name}: inputs must have shape (batch, features), or (batch, groups, features) with groups "
                f"that divide {self.count}; got {tuple(shape)}"
            )
        return groups

    def _initial_kernels(self, shape: Shape, dtype: str | None = None) -> Tensor:
        """Return the matrices of a layer, each drawn by itself: Keras would take `count` for a kernel's size."""
        return ops.stack([_draw(self.kernel_initializer, i, shape[1:], dtype) for i in range(self.count)])

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, int, int]:
        self._groups(input_shape)
        return (input_shape[0], self.count, self.units[-1])

    def get_config(self) -> dict[str, Any]:
        final = self.final_activation
        return {
            **super().get_config(),
            "count": self.count,
            "units": list(self.units),
            "activation": keras.activations.serialize(self.activation),
            "final_activation": "same" if final == "same" else keras.activations.serialize(final),
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


def _draw(initializer: Any, index: int, shape: Shape, dtype: str | None) -> Tensor:
    """Return initial values of matrix `index`, which differ from the others' also where a seed is fixed."""
    config = initializer.get_config()
    if isinstance(config.get("seed"), int):
        config["seed"] += index
    return type(initializer).from_config(config)(shape, dtype=dtype)
