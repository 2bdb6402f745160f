"""The cross layer of DCN-v2."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.typing import Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class FeatureCross(keras.layers.Layer):
    """Multiplies the original features with a linear map of the crosses so far.

    `x_{l+1} = x_0 * (W x_l + b) + x_l`, with `*` elementwise: each layer raises by one the degree of the
    polynomial in `x_0` that the stack can express. The low-rank form has `W = U V` with `V` of
    `(projection_dim, dim)`; it costs `2 * dim * projection_dim` weights instead of `dim ** 2`, and
    `projection_dim` around `dim / 4` usually loses nothing.

    Args:
        projection_dim: the rank of `W`; None is the full matrix.

    Inputs: `x0`, the original features `(batch, ..., dim)`, and `x`, the last cross layer's output, of the same
        shape; without `x` it is `x0`, as in the first layer.

    Output: the shape of `x0`, in the compute dtype.

    Raises:
        ValueError: `x0` and `x` differ in shape, or `projection_dim` is below 1.

    Example:

    >>> x0 = np.ones((4, 32), "float32")
    >>> x1 = kr.layers.FeatureCross()(x0)
    >>> kr.layers.FeatureCross(projection_dim=8)(x0, x1).shape
    (4, 32)

    Source: Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to
    Rank Systems", https://arxiv.org/abs/2008.13535
    """

    def __init__(self, projection_dim: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if projection_dim is not None and (int(projection_dim) != projection_dim or projection_dim < 1):
            raise ValueError(
                f"{self.name}: projection_dim must be an integer >= 1 or None; got {projection_dim!r}"
            )
        self.projection_dim = projection_dim
        self.supports_masking = True

    def build(self, x0_shape: Shape, x_shape: Shape | None = None) -> None:
        dim = x0_shape[-1]
        if len(x0_shape) < 2 or dim is None:
            raise ValueError(f"{self.name}: x0 must have shape (batch, ..., dim); got {tuple(x0_shape)}")
        rank = self.projection_dim
        if rank is not None:
            self.down = self.add_weight(name="down", shape=(dim, rank), initializer="glorot_uniform")
        self.kernel = self.add_weight(name="kernel", shape=(rank or dim, dim), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(dim,), initializer="zeros")

    def call(self, x0: Tensor, x: Tensor = None) -> Tensor:
        x = x0 if x is None else x
        if x.shape[-1] != x0.shape[-1] or len(x.shape) != len(x0.shape):
            raise ValueError(
                f"{self.name}: x0 and x must have equal shapes; got {tuple(x0.shape)} and {tuple(x.shape)}"
            )
        low = x if self.projection_dim is None else ops.matmul(x, self.down)
        return x0 * (ops.matmul(low, self.kernel) + self.bias) + x

    def compute_output_shape(self, x0_shape: Shape, x_shape: Shape | None = None) -> tuple[int | None, ...]:
        return tuple(x0_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "projection_dim": self.projection_dim}
