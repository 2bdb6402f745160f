"""The compressed interaction network of xDeepFM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers.mlp import widths
from kerasrec.layers.shapes import stacked, vectors_shape
from kerasrec.typing import Initializer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class CompressedInteraction(keras.layers.Layer):
    """Multiplies feature vectors with one another layer after layer, dimension by dimension: a CIN.

    With `x0_i` the `n` feature vectors, layer `l` has vectors
    `x^l_k = b^l_k + sum_i sum_h W^l_ihk (x0_i * x^{l-1}_h)`, where `*` is elementwise and `x^0 = x0`: each layer
    raises by one the degree of the products. The output is, for each vector of each layer, the sum of its numbers.

    The products `x0_i * x_h` are never formed: `x0` is multiplied with `W` first, whose result for each `h` and
    `k` is smaller as long as a layer has fewer vectors than there are features.

    Args:
        units: how many vectors each layer has.
        kernel_initializer: of every `W`.

    Inputs: `n` feature vectors, as a list of tensors `(batch, dim)` or as one `(batch, n, dim)`.

    Output: `(batch, sum(units))` in the compute dtype.

    Raises:
        ValueError: `units` is empty or has a number below 1; a tensor has another shape, or another `dim` than the
            first; the message names it.

    Example:

    >>> item, user, city = (np.ones((4, 16), "float32") for _ in range(3))
    >>> kr.layers.CompressedInteraction([8, 6])([item, user, city]).shape
    (4, 14)

    Source: Lian et al., "xDeepFM: Combining Explicit and Implicit Feature Interactions for Recommender Systems",
    https://arxiv.org/abs/1803.05170. It has no biases; they are FuxiCTR's.
    """

    def __init__(
        self,
        units: int | Sequence[int] = (16, 16, 16),
        kernel_initializer: Initializer = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = widths(self.name, "units", units)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        _, n, _ = vectors_shape(self.name, input_shape)
        self.kernels, self.biases = [], []
        for i, (before, units) in enumerate(zip((n, *self.units), self.units, strict=False), 1):
            initializer = self.kernel_initializer.clone()  # the same instance would draw the same numbers
            shape = (n * before, units)
            self.kernels.append(self.add_weight(name=f"kernel_{i}", shape=shape, initializer=initializer))
            self.biases.append(self.add_weight(name=f"bias_{i}", shape=(units,), initializer="zeros"))

    def call(self, inputs: Tensor) -> Tensor:
        _, n, dim = vectors_shape(self.name, inputs)
        x0 = x = ops.transpose(stacked(inputs), (0, 2, 1))
        sums = []
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            projected = ops.matmul(x0, ops.reshape(kernel, (n, -1)))
            projected = ops.reshape(projected, (-1, dim, x.shape[-1], kernel.shape[-1]))
            x = ops.squeeze(ops.matmul(ops.expand_dims(x, -2), projected), -2) + bias
            sums.append(ops.sum(x, axis=1))
        return ops.concatenate(sums, axis=1)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, int]:
        return (vectors_shape(self.name, input_shape)[0], sum(self.units))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": list(self.units),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
