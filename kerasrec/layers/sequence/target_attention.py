"""Target attention: DIN's activation of those behaviours that matter for a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers.mlp import widths
from kerasrec.layers.sequence.dice import Dice
from kerasrec.layers.sequence.shapes import check_history, masked_softmax
from kerasrec.typing import Activation, Initializer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class TargetAttention(keras.layers.Layer):
    """Sums the vectors of a history, each weighted by how it bears on a target.

    With target `t` and behaviours `h_1 .. h_L`: `sum_l a(t, h_l) h_l`, where `a` is a small network of
    `[t, h, t - h, t * h]` with one linear output. The weights are not normalised, so that many similar behaviours
    add up to a strong interest; with `softmax=True` they sum to 1. A row without behaviours gives zeros.

    With `W` in four parts, `[t, h, t - h, t * h] W = t (W_t + W_d) + h (W_h - W_d) + (t * h) W_p`: the target's
    part is computed once per row, not once per behaviour.

    Args:
        units: widths of the network's hidden layers.
        activation: of the hidden layers: "dice" (`kr.layers.Dice`), or any activation of Keras.
        softmax: whether a row's weights are normalised by a softmax.
        dropout: after each hidden layer.
        kernel_initializer: of the matrices.

    Inputs: `target` `(batch, dim)`, `history` `(batch, length, dim)` and `history_mask` `(batch, length)`, which
        in a functional model follows the history, as of `kr.inputs(schema, combiner={"history": None})`.

    Output: `(batch, dim)` in the compute dtype.

    Raises:
        ValueError: other shapes, widths that differ, `units` below 1 or `dropout` outside [0, 1).

    Example:

    >>> item, history = np.ones((4, 16), "float32"), np.ones((4, 50, 16), "float32")
    >>> kr.layers.TargetAttention([64, 16])(item, history).shape
    (4, 16)

    Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction",
    https://arxiv.org/abs/1706.06978
    """

    def __init__(
        self,
        units: int | Sequence[int] = (64,),
        activation: Activation = "dice",
        softmax: bool = False,
        dropout: float = 0.0,
        kernel_initializer: Initializer = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units, self.softmax, self.dropout = widths(self.name, "units", units), softmax, dropout
        if not 0 <= dropout < 1:
            raise ValueError(f"{self.name}: dropout must be in [0, 1); got {dropout!r}")
        self.activation = "dice" if activation == "dice" else keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True

    def build(self, target_shape: Shape, history_shape: Shape) -> None:
        dim, history_dim = check_history(self.name, target_shape, history_shape)
        if dim != history_dim:
            raise ValueError(
                f"{self.name}: target and history must have one width; got {tuple(target_shape)} and "
                f"{tuple(history_shape)}"
            )
        first, *others = self.units
        self.kernel = self.add_weight(
            name="kernel", shape=(4 * dim, first), initializer=self.kernel_initializer.clone()
        )
        self.bias = self.add_weight(name="bias", shape=(first,), initializer="zeros")
        self.hidden = [self._dense(width) for width in others]
        self.activations = [self._activation() for _ in self.units]
        self.drop = keras.layers.Dropout(self.dropout, dtype=self.dtype_policy)
        self.score = self._dense(1)
        for dense, width in zip([*self.hidden, self.score], self.units, strict=True):
            dense.build((None, None, width))
        for activation, width in zip(self.activations, self.units, strict=True):
            activation.build((None, None, width))

    def _dense(self, width: int) -> keras.layers.Dense:
        return keras.layers.Dense(
            width, kernel_initializer=self.kernel_initializer.clone(), dtype=self.dtype_policy
        )

    def _activation(self) -> keras.layers.Layer:
        if self.activation == "dice":
            return Dice(dtype=self.dtype_policy)
        return keras.layers.Activation(self.activation, dtype=self.dtype_policy)

    def call(
        self,
        target: Tensor,
        history: Tensor,
        history_mask: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        w_target, w_history, w_difference, w_product = ops.split(self.kernel, 4, axis=0)
        row = ops.expand_dims(ops.matmul(target, w_target + w_difference) + self.bias, 1)
        # (W_h - W_d + diag(t) W_p) maps h: one matrix per row of the batch instead of one product per behaviour.
        maps = w_history - w_difference + ops.expand_dims(target, -1) * w_product
        x = ops.matmul(history, maps) + row
        for k, activation in enumerate(self.activations):
            x = self.hidden[k - 1](x) if k else x
            x = activation(x, mask=history_mask, training=training) if self.activation == "dice" else activation(x)
            x = self.drop(x, training=training)
        weights = self._weights(ops.squeeze(self.score(x), -1), history_mask)
        return ops.squeeze(ops.matmul(ops.expand_dims(weights, 1), history), 1)

    def _weights(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if self.softmax:
            wide = ops.cast(scores, keras.backend.result_type(self.compute_dtype, "float32"))
            return ops.cast(masked_softmax(wide, mask), self.compute_dtype)
        return scores if mask is None else scores * ops.cast(mask, scores.dtype)

    def compute_mask(self, target: Tensor, history: Tensor, *masks: Tensor) -> None:
        """Return None: the output is one vector per row."""

    def compute_output_shape(self, target_shape: Shape, history_shape: Shape) -> Shape:
        return tuple(target_shape)

    def get_config(self) -> dict[str, Any]:
        dice = self.activation == "dice"
        return {
            **super().get_config(),
            "units": list(self.units),
            "activation": "dice" if dice else keras.activations.serialize(self.activation),
            "softmax": self.softmax,
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
