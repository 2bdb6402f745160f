"""DIEN's recurrent layer: a GRU whose update gate is scaled by attention."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.typing import Initializer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class AUGRU(keras.layers.Layer):
    """Runs a GRU over a sequence, in which attention says how far each step moves the state.

    With input `x_t`, attention `a_t` and state `h_t`, which begins at 0, and `*` elementwise:

        u = sigmoid(x_t W_u + h_{t-1} U_u + b_u)
        r = sigmoid(x_t W_r + h_{t-1} U_r + b_r)
        n = tanh(x_t W_n + b_n + r * (h_{t-1} U_n + c_n))
        h_t = h_{t-1} + a_t * u * (n - h_{t-1})

    A step without attention, such as one of padding, leaves the state as it is. With `a_t = 1` this is the GRU of
    PyTorch, and of `keras.layers.GRU` with the sign of the update gate's weights changed.

    Args:
        units: the width of the state.
        kernel_initializer: of `W`.
        recurrent_initializer: of `U`.

    Inputs: `sequence` `(batch, length, dim)`, `attention` `(batch, length)`, and `sequence_mask` `(batch, length)`
        or None: steps that are not in the mask have no attention.

    Output: the last state `(batch, units)`.

    Raises:
        ValueError: inputs of other shapes, or `units` below 1.

    Example:

    >>> sequence, attention = np.ones((4, 50, 16), "float32"), np.ones((4, 50), "float32")
    >>> kr.layers.AUGRU(16)(sequence, attention).shape
    (4, 16)

    Source: Zhou et al., "Deep Interest Evolution Network for Click-Through Rate Prediction",
    https://arxiv.org/abs/1809.03672
    """

    def __init__(
        self,
        units: int,
        kernel_initializer: Initializer = "glorot_uniform",
        recurrent_initializer: Initializer = "orthogonal",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if int(units) != units or units < 1:
            raise ValueError(f"{self.name}: units must be an integer >= 1; got {units!r}")
        self.units = int(units)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.supports_masking = True
        cell = _Step(self.units, self.recurrent_initializer.clone(), dtype=self.dtype_policy, name="step")
        self.steps = keras.layers.RNN(cell, dtype=self.dtype_policy, name="steps")

    def build(self, sequence_shape: Shape, attention_shape: Shape) -> None:
        if len(sequence_shape) != 3 or sequence_shape[-1] is None or len(attention_shape) != 2:
            raise ValueError(
                f"{self.name}: sequence must have shape (batch, length, dim) and attention (batch, length); got "
                f"{tuple(sequence_shape)} and {tuple(attention_shape)}"
            )
        kernel = (sequence_shape[-1], 3 * self.units)
        self.kernel = self.add_weight(name="kernel", shape=kernel, initializer=self.kernel_initializer.clone())
        self.bias = self.add_weight(name="bias", shape=(3 * self.units,), initializer="zeros")
        self.steps.build((*sequence_shape[:2], 3 * self.units + 1))

    def call(self, sequence: Tensor, attention: Tensor, sequence_mask: Tensor | None = None) -> Tensor:
        attention = ops.cast(attention, self.compute_dtype)
        if sequence_mask is not None:
            attention = attention * ops.cast(sequence_mask, attention.dtype)
        inputs = ops.matmul(sequence, self.kernel) + self.bias  # of all steps at once
        return self.steps(ops.concatenate([inputs, ops.expand_dims(attention, -1)], axis=-1))

    def compute_mask(self, sequence: Tensor, attention: Tensor, *masks: Tensor) -> None:
        """Return None: the output is one vector per row."""

    def compute_output_shape(self, sequence_shape: Shape, attention_shape: Shape) -> Shape:
        return (sequence_shape[0], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": keras.initializers.serialize(self.recurrent_initializer),
        }


class _Step(keras.layers.Layer):
    """A step of `AUGRU` for inputs `[x_t W + b, a_t]`, `(batch, 3 * units + 1)`."""

    def __init__(self, units: int, initializer: keras.initializers.Initializer, **kwargs: Any):
        super().__init__(**kwargs)
        self.state_size = self.output_size = units
        self.initializer = initializer

    def build(self, input_shape: Shape) -> None:
        shape = (self.state_size, 3 * self.state_size)
        self.recurrent_kernel = self.add_weight(name="recurrent_kernel", shape=shape, initializer=self.initializer)
        self.candidate_bias = self.add_weight(name="candidate_bias", shape=(self.state_size,), initializer="zeros")

    def call(self, inputs: Tensor, states: Any, training: bool | None = None) -> tuple[Tensor, list[Tensor]]:
        h = states[0]
        units = self.state_size
        recurrent = ops.matmul(h, self.recurrent_kernel)
        gates = ops.sigmoid(inputs[:, : 2 * units] + recurrent[:, : 2 * units])
        update, reset = gates[:, :units], gates[:, units:]
        attention = inputs[:, 3 * units :]
        candidate = ops.tanh(
            inputs[:, 2 * units : 3 * units] + reset * (recurrent[:, 2 * units :] + self.candidate_bias)
        )
        h = h + attention * update * (candidate - h)
        return h, [h]
