"""A stack of dense layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable("kerasrec")
class MLP(keras.layers.Layer):
    """Dense layers one after another: `x_{k+1} = activation(x_k W_k + b_k)`.

    Args:
        units: the layers' widths.
        activation: of every layer.
        final_activation: of the last layer; "same" is `activation`, None is linear.
        dropout: the share of a layer's outputs that training sets to 0. A linear last layer keeps all of its own.

    Inputs: `(batch, ..., features)`.

    Output: `(batch, ..., units[-1])` in the compute dtype.

    Raises:
        ValueError: no units, a width below 1, or a dropout outside [0, 1).

    Example:

    >>> kr.layers.MLP([512, 256, 64])(np.ones((4, 13), "float32")).shape
    (4, 64)
    """

    def __init__(
        self,
        units: Sequence[int],
        activation: str | Callable[[Any], Any] | None = "relu",
        final_activation: str | Callable[[Any], Any] | None = "same",
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not isinstance(units, (list, tuple)) or not units or any(int(u) != u or u < 1 for u in units):
            raise ValueError(f"{self.name}: units must be a list of widths of at least 1, not {units!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"{self.name}: dropout must be in [0, 1), not {dropout!r}")
        self.units = tuple(int(u) for u in units)
        self.activation = keras.activations.get(activation)
        self.final_activation = "same" if final_activation == "same" else keras.activations.get(final_activation)
        self.dropout = dropout
        self.supports_masking = True

        last = self.activation if self.final_activation == "same" else self.final_activation
        activations = [self.activation] * (len(self.units) - 1) + [last]
        self._stack: list[keras.layers.Layer] = []
        for width, act in zip(self.units, activations, strict=True):
            self._stack.append(keras.layers.Dense(width, activation=act, dtype=self.dtype_policy))
            if dropout and act is not keras.activations.linear:
                self._stack.append(keras.layers.Dropout(dropout, dtype=self.dtype_policy))

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"{self.name}: needs inputs (batch, ..., features), not of shape {tuple(input_shape)}"
            )
        for layer in self._stack:
            layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        x = inputs
        for layer in self._stack:
            x = layer(x, training=training) if isinstance(layer, keras.layers.Dropout) else layer(x)
        return x

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units[-1])

    def get_config(self) -> dict[str, Any]:
        final = self.final_activation
        return {
            **super().get_config(),
            "units": list(self.units),
            "activation": keras.activations.serialize(self.activation),
            "final_activation": "same" if final == "same" else keras.activations.serialize(final),
            "dropout": self.dropout,
        }
