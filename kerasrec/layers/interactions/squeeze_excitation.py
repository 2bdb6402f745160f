"""Squeeze and excitation: the importance of each field in a row, of FiBiNET."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.layers.shapes import stacked, vectors_shape
from kerasrec.typing import Activation, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class SqueezeExcitation(keras.layers.Layer):
    """Multiplies each of `n` feature vectors by its importance in the row.

    `z_i = mean(v_i)`, `a = activation(relu(z W_1) W_2)`, and the output is `a_i * v_i`, where `W_1` has the shape
    `(n, m)`, `W_2` `(m, n)` and `m = max(1, floor(n / reduction_ratio))`.

    Args:
        reduction_ratio: how many times fewer hidden units than fields there are.
        activation: of the importances, a function or its name. "relu" is common too, but gives no gradient where
            an importance is 0, which with few fields may be so in all rows.

    Inputs: `n` feature vectors, as a list of tensors `(batch, dim)` or as one `(batch, n, dim)`.

    Output: `(batch, n, dim)` in the compute dtype.

    Raises:
        ValueError: `reduction_ratio` is not positive, or a tensor has another shape, or another `dim` than the
            first; the message names it.

    Example:

    >>> item, user, city = (np.ones((4, 16), "float32") for _ in range(3))
    >>> kr.layers.SqueezeExcitation()([item, user, city]).shape
    (4, 3, 16)

    Source: Huang et al., "FiBiNET: Combining Feature Importance and Bilinear feature Interaction for Click-Through
    Rate Prediction", https://arxiv.org/abs/1905.09433
    """

    def __init__(self, reduction_ratio: float = 3, activation: Activation = "sigmoid", **kwargs: Any):
        super().__init__(**kwargs)
        if not reduction_ratio > 0:
            raise ValueError(f"{self.name}: reduction_ratio must be > 0; got {reduction_ratio!r}")
        self.reduction_ratio, self.activation = reduction_ratio, keras.activations.get(activation)

    def build(self, input_shape: Shape) -> None:
        _, n, _ = vectors_shape(self.name, input_shape)
        hidden = max(1, int(n / self.reduction_ratio))
        self.squeeze = self.add_weight(name="squeeze", shape=(n, hidden), initializer="glorot_uniform")
        self.excite = self.add_weight(name="excite", shape=(hidden, n), initializer="glorot_uniform")

    def call(self, inputs: Tensor) -> Tensor:
        vectors_shape(self.name, inputs)
        vectors = stacked(inputs)
        hidden = ops.relu(ops.matmul(ops.mean(vectors, axis=-1), self.squeeze))
        importance = self.activation(ops.matmul(hidden, self.excite))
        return ops.expand_dims(importance, -1) * vectors

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        return vectors_shape(self.name, input_shape)

    def get_config(self) -> dict[str, Any]:
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "reduction_ratio": self.reduction_ratio, "activation": activation}
