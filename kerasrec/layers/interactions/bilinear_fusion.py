"""The fusion of two streams by bilinear forms, of FinalMLP."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.layers.mlp import at_least_one
from kerasrec.layers.stacked_kernels import glorot_of_each
from kerasrec.typing import Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class BilinearFusion(keras.layers.Layer):
    """Computes outputs that are linear and bilinear in two streams `a` and `b`.

    `o_u = c_u + <w_u, a> + <v_u, b> + sum_h a_h^T W_hu b_h`, where `a_1 .. a_heads` are equal parts of `a`, one
    after another, and so of `b`: each head fuses a part of its own, so that the `W` have
    `dim_a * dim_b / heads` weights per output.

    Args:
        units: how many outputs there are.
        heads: how many parts the streams are cut into; both widths must be multiples of it.

    Inputs: `a` `(batch, dim_a)` and `b` `(batch, dim_b)`.

    Output: `(batch, units)` in the compute dtype.

    Raises:
        ValueError: `units` or `heads` is below 1, or a stream has another shape or a width that is not a multiple
            of `heads`; the message names it.

    Example:

    >>> a, b = np.ones((4, 64), "float32"), np.ones((4, 32), "float32")
    >>> kr.layers.BilinearFusion(1, heads=4)(a, b).shape
    (4, 1)

    Source: Mao et al., "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction",
    https://arxiv.org/abs/2304.00902
    """

    def __init__(self, units: int = 1, heads: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.heads = at_least_one(self.name, "units", units), at_least_one(self.name, "heads", heads)

    def build(self, a_shape: Shape, b_shape: Shape) -> None:
        a, b = self._width("a", a_shape), self._width("b", b_shape)
        units, heads = self.units, self.heads
        self.kernel_a = self.add_weight(name="kernel_a", shape=(a, units), initializer="glorot_uniform")
        self.kernel_b = self.add_weight(name="kernel_b", shape=(b, units), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(units,), initializer="zeros")
        # (part of a) x (output, part of b), for each head
        shape = (heads, a // heads, units * (b // heads))
        self.forms = self.add_weight(name="forms", shape=shape, initializer=glorot_of_each(heads))

    def call(self, a: Tensor, b: Tensor) -> Tensor:
        part_a, part_b = (self._width(name, x.shape) // self.heads for name, x in (("a", a), ("b", b)))
        linear = ops.matmul(a, self.kernel_a) + ops.matmul(b, self.kernel_b) + self.bias
        parts = ops.transpose(ops.reshape(a, (-1, self.heads, part_a)), (1, 0, 2))
        mapped = ops.reshape(ops.matmul(parts, self.forms), (self.heads, -1, self.units, part_b))
        parts = ops.transpose(ops.reshape(b, (-1, self.heads, 1, part_b)), (1, 0, 2, 3))
        return linear + ops.sum(mapped * parts, axis=(0, 3))

    def _width(self, stream: str, shape: Shape) -> int:
        if len(shape) != 2 or shape[1] is None:
            raise ValueError(f"{self.name}: {stream} must have shape (batch, dim); got {tuple(shape)}")
        if shape[1] % self.heads:
            raise ValueError(
                f"{self.name}: the width of {stream} must be a multiple of heads, {self.heads}; got {shape[1]}"
            )
        return shape[1]

    def compute_output_shape(self, a_shape: Shape, b_shape: Shape) -> tuple[int | None, int]:
        return (a_shape[0], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "heads": self.heads}
