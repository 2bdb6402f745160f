"""The mask block of MaskNet: a hidden layer whose inputs a row's embeddings mask."""

from __future__ import annotations

from typing import Any

import keras

from kerasrec.layers.mlp import at_least_one
from kerasrec.typing import Activation, Initializer, Regularizer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class MaskBlock(keras.layers.Layer):
    """Multiplies hidden features with a mask that the embeddings of the row set, then applies a normalized layer.

    `mask = relu(v W_1 + b_1) W_2 + b_2` and `y = activation(layer_norm((mask * h) W))`, with `*` elementwise. The
    mask's hidden layer has `max(1, floor(reduction_ratio * width of h))` units.

    Args:
        units: the width of the output.
        reduction_ratio: the width of the mask's hidden layer, as a multiple of that of `h`.
        activation: of the output.
        dropout: the share of the outputs that is set to 0 in training.
        kernel_initializer, kernel_regularizer: of every matrix, as in `keras.layers.Dense`.

    Inputs: `v`, the embeddings of a row side by side `(batch, dim)`, and `h`, the features to mask
        `(batch, width)`: the embeddings, normalized, or the output of the block before.

    Output: `(batch, units)` in the compute dtype.

    Raises:
        ValueError: `units` is below 1, `reduction_ratio` is not positive, or inputs have another shape.

    Example:

    >>> v, h = np.ones((4, 64), "float32"), np.ones((4, 64), "float32")
    >>> kr.layers.MaskBlock(32)(v, h).shape
    (4, 32)

    Source: Wang et al., "MaskNet: Introducing Feature-Wise Multiplication to CTR Ranking Models by Instance-Guided
    Mask", https://arxiv.org/abs/2102.07619
    """

    def __init__(
        self,
        units: int,
        reduction_ratio: float = 1,
        activation: Activation = "relu",
        dropout: float = 0.0,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Regularizer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not reduction_ratio > 0:
            raise ValueError(f"{self.name}: reduction_ratio must be > 0; got {reduction_ratio!r}")
        self.units = at_least_one(self.name, "units", units)
        self.reduction_ratio, self.dropout = reduction_ratio, dropout
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.hidden = self._dense(units, use_bias=False, name="hidden")
        self.normalization = keras.layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy, name="norm")
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def _dense(self, units: int, **more: Any) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            kernel_initializer=self.kernel_initializer.clone(),  # the same instance would draw the same numbers
            kernel_regularizer=self.kernel_regularizer,
            dtype=self.dtype_policy,
            **more,
        )

    def build(self, v_shape: Shape, h_shape: Shape) -> None:
        self._width("v", v_shape)
        width = self._width("h", h_shape)
        self.squeeze = self._dense(max(1, int(self.reduction_ratio * width)), activation="relu", name="mask_1")
        self.mask = self._dense(width, name="mask_2")
        self.squeeze.build(v_shape)
        self.mask.build((None, self.squeeze.units))
        self.hidden.build(h_shape)
        self.normalization.build((None, self.units))

    def _width(self, name: str, shape: Shape) -> int:
        if len(shape) != 2 or shape[1] is None:
            raise ValueError(f"{self.name}: {name} must have shape (batch, dim); got {tuple(shape)}")
        return shape[1]

    def call(self, v: Tensor, h: Tensor, training: bool | None = None) -> Tensor:
        mask = self.mask(self.squeeze(v))
        return self.drop(self.activation(self.normalization(self.hidden(mask * h))), training=training)

    def compute_output_shape(self, v_shape: Shape, h_shape: Shape) -> tuple[int | None, int]:
        return (v_shape[0], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "reduction_ratio": self.reduction_ratio,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }
