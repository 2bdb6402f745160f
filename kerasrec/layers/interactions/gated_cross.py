"""The gated cross layer of GDCN."""

from __future__ import annotations

import keras
from keras import ops

from kerasrec.typing import Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class GatedCross(keras.layers.Layer):
    """Multiplies the original features with a linear map of the crosses so far, and with a gate.

    `x_{l+1} = x_0 * (W x_l + b) * sigmoid(W_g x_l) + x_l`, with `*` elementwise: the gate lets the crosses through
    that matter in the row.

    Inputs: `x0`, the original features `(batch, ..., dim)`, and `x`, the last cross layer's output, of the same
        shape; without `x` it is `x0`, as in the first layer.

    Output: the shape of `x0`, in the compute dtype.

    Raises:
        ValueError: `x0` and `x` differ in shape.

    Example:

    >>> x0 = np.ones((4, 32), "float32")
    >>> x1 = kr.layers.GatedCross()(x0)
    >>> kr.layers.GatedCross()(x0, x1).shape
    (4, 32)

    Source: Wang et al., "Towards Deeper, Lighter and Interpretable Cross Network for CTR Prediction",
    https://arxiv.org/abs/2311.04635
    """

    def build(self, x0_shape: Shape, x_shape: Shape | None = None) -> None:
        dim = x0_shape[-1]
        if len(x0_shape) < 2 or dim is None:
            raise ValueError(f"{self.name}: x0 must have shape (batch, ..., dim); got {tuple(x0_shape)}")
        self.kernel = self.add_weight(name="kernel", shape=(dim, dim), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(dim,), initializer="zeros")
        self.gate = self.add_weight(name="gate", shape=(dim, dim), initializer="glorot_uniform")

    def call(self, x0: Tensor, x: Tensor = None) -> Tensor:
        x = x0 if x is None else x
        if x.shape[-1] != x0.shape[-1] or len(x.shape) != len(x0.shape):
            raise ValueError(
                f"{self.name}: x0 and x must have equal shapes; got {tuple(x0.shape)} and {tuple(x.shape)}"
            )
        gate = ops.sigmoid(ops.matmul(x, self.gate))
        return x0 * (ops.matmul(x, self.kernel) + self.bias) * gate + x

    def compute_output_shape(self, x0_shape: Shape, x_shape: Shape | None = None) -> tuple[int | None, ...]:
        return tuple(x0_shape)
