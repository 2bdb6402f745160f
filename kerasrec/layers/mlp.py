"""A stack of dense layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kerasrec.typing import Activation, Initializer, Regularizer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class MLP(keras.layers.Layer):
    """Applies dense layers one after another: `x_{k+1} = activation(x_k W_k + b_k)`.

    Args:
        units: the layers' widths, or the width of one layer.
        activation: of every layer.
        final_activation: of the last layer; "same" is `activation`, None is linear.
        dropout: the share of each layer's outputs that is set to 0 in training, except after a linear last layer.
        kernel_initializer, kernel_regularizer: of every layer's matrix, as in `keras.layers.Dense`.

    Inputs: `(batch, ..., features)`.

    Output: `(batch, ..., units[-1])` in the compute dtype.

    Raises:
        ValueError: `units` is empty or has a width below 1, or `dropout` is outside [0, 1).

    Example:

    >>> kr.layers.MLP([512, 256, 64])(np.ones((4, 13), "float32")).shape
    (4, 64)
    """

    def __init__(
        self,
        units: int | Sequence[int],
        activation: str | Callable[[Any], Any] | None = "relu",
        final_activation: str | Callable[[Any], Any] | None = "same",
        dropout: float = 0.0,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Regularizer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = widths(self.name, "units", units)
        if not 0 <= dropout < 1:
            raise ValueError(f"{self.name}: dropout must be in [0, 1); got {dropout!r}")
        self.activation = keras.activations.get(activation)
        self.final_activation = "same" if final_activation == "same" else keras.activations.get(final_activation)
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.supports_masking = True

        last = self.activation if self.final_activation == "same" else self.final_activation
        activations = [self.activation] * (len(self.units) - 1) + [last]
        self._stack: list[keras.layers.Layer] = []
        for width, act in zip(self.units, activations, strict=True):
            self._stack.append(self._dense(width, act))
            if dropout and act is not keras.activations.linear:
                self._stack.append(keras.layers.Dropout(dropout, dtype=self.dtype_policy))

    def _dense(self, width: int, activation: Activation) -> keras.layers.Dense:
        return keras.layers.Dense(
            width,
            activation=activation,
            kernel_initializer=self.kernel_initializer.clone(),  # the same instance would draw the same numbers
            kernel_regularizer=self.kernel_regularizer,
            dtype=self.dtype_policy,
        )

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"{self.name}: inputs must have shape (batch, ..., features); got {tuple(input_shape)}"
            )
        for layer in self._stack:
            layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        x = inputs
        for layer in self._stack:
            x = layer(x, training=training) if isinstance(layer, keras.layers.Dropout) else layer(x)
        return x

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units[-1])

    def get_config(self) -> dict[str, Any]:
        final = self.final_activation
        return {
            **super().get_config(),
            "units": list(self.units),
            "activation": keras.activations.serialize(self.activation),
            "final_activation": "same" if final == "same" else keras.activations.serialize(final),
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


def widths(owner: str, argument: str, units: int | Sequence[int]) -> tuple[int, ...]:
    """Return the widths of a stack of layers, given a list of them or the width of one layer."""
    listed: list[Any] = list(units) if isinstance(units, list | tuple) else [units]
    if not listed or any(isinstance(u, bool) or not isinstance(u, int | float | np.number) for u in listed):
        raise ValueError(f"{owner}: {argument} must be an integer or a list of integers >= 1; got {units!r}")
    if any(int(u) != u or u < 1 for u in listed):
        raise ValueError(f"{owner}: {argument} must be an integer or a list of integers >= 1; got {units!r}")
    return tuple(int(u) for u in listed)


def at_least_one(owner: str, argument: str, value: int) -> int:
    """Return an argument that is an integer >= 1. Raises `ValueError` for another."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{owner}: {argument} must be an integer >= 1; got {value!r}")
    return int(value)
