"""The bilinear interaction of pairs of fields, of FiBiNET."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.layers.shapes import vectors_shape
from kerasrec.layers.stacked_kernels import glorot_of_each
from kerasrec.typing import Shape, Tensor

TYPES = ("all", "each", "interaction")


@keras.saving.register_keras_serializable("kerasrec")
class BilinearInteraction(keras.layers.Layer):
    """Multiplies the vectors of each pair of fields, the first of them mapped by a matrix.

    `p_ij = (v_i W) * v_j` for all `i < j`, with `*` elementwise, in the order `(1,2), (1,3), ..., (2,3), ...`.

    Args:
        bilinear_type: which `W` there is: "all" is one, `(dim, dim)`; "each" one for each field but the last as
            the first of a pair, `(n - 1, dim, dim)`; "interaction" one for each pair, `(pairs, dim, dim)`.

    Inputs: `n` feature vectors, as a list of tensors `(batch, dim)` or as one `(batch, n, dim)`.

    Output: `(batch, n * (n - 1) / 2, dim)` in the compute dtype.

    Raises:
        ValueError: another `bilinear_type`, or a tensor with another shape, or another `dim` than the first; the
            message names it.

    Example:

    >>> item, user, city = (np.ones((4, 16), "float32") for _ in range(3))
    >>> kr.layers.BilinearInteraction()([item, user, city]).shape
    (4, 3, 16)

    Source: Huang et al., "FiBiNET: Combining Feature Importance and Bilinear feature Interaction for Click-Through
    Rate Prediction", https://arxiv.org/abs/1905.09433
    """

    def __init__(self, bilinear_type: str = "interaction", **kwargs: Any):
        super().__init__(**kwargs)
        if bilinear_type not in TYPES:
            raise ValueError(f"{self.name}: bilinear_type must be one of {TYPES}; got {bilinear_type!r}")
        self.bilinear_type = bilinear_type

    def build(self, input_shape: Shape) -> None:
        _, n, dim = vectors_shape(self.name, input_shape)
        matrices = {"all": 1, "each": n - 1, "interaction": n * (n - 1) // 2}[self.bilinear_type]
        self.kernel = self.add_weight(
            name="kernel", shape=(matrices, dim, dim), initializer=glorot_of_each(max(1, matrices))
        )

    def call(self, inputs: Tensor) -> Tensor:
        _, n, dim = vectors_shape(self.name, inputs)
        fields = list(inputs) if isinstance(inputs, list | tuple) else ops.unstack(inputs, axis=1)
        if n == 1:
            return ops.zeros((ops.shape(fields[0])[0], 0, dim), self.compute_dtype)
        # All pairs with the same first field are one product. Fields are repeated by `concatenate`, whose gradient
        # is fast: that of a gather along the axis of fields takes three times as long.
        first = [mapped for i in range(n - 1) for mapped in self._mapped(fields[i], i, n)]
        second = [fields[j] for i in range(n - 1) for j in range(i + 1, n)]
        pairs = ops.concatenate(first, axis=1) * ops.concatenate(second, axis=1)
        return ops.reshape(pairs, (-1, n * (n - 1) // 2, dim))

    def _mapped(self, field: Tensor, i: int, n: int) -> list[Tensor]:
        """Return field `i` mapped by the matrices of its pairs with the fields after it."""
        after = n - 1 - i
        if self.bilinear_type != "interaction":
            return [ops.matmul(field, self.kernel[i if self.bilinear_type == "each" else 0])] * after
        start = i * n - i * (i + 1) // 2  # the number of pairs before the first of field i
        kernels = self.kernel[start : start + after]
        side_by_side = ops.reshape(ops.transpose(kernels, (1, 0, 2)), (kernels.shape[1], -1))
        return [ops.matmul(field, side_by_side)]

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        batch, n, dim = vectors_shape(self.name, input_shape)
        return (batch, n * (n - 1) // 2, dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bilinear_type": self.bilinear_type}
