"""The pooling of NFM: all pairwise products of feature vectors, summed."""

from __future__ import annotations

import keras
from keras import ops

from kerasrec.layers.shapes import stacked, vectors_shape
from kerasrec.typing import Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class BiInteraction(keras.layers.Layer):
    """Sums the elementwise products of all pairs of feature vectors, in time linear in their number.

    `sum_{i<j} v_i * v_j = 1/2 * ((sum_i v_i)^2 - sum_i v_i^2)`, elementwise. The sum of its numbers is what
    `FactorizationMachine` returns. The difference of two large sums loses digits, so it is computed in float32 or
    wider, also under a mixed policy.

    Inputs: `n` feature vectors, as a list of tensors `(batch, dim)` or as one `(batch, n, dim)`.

    Output: `(batch, dim)` in the compute dtype; zeros for a single vector.

    Raises:
        ValueError: a tensor has another shape, or another `dim` than the first; the message names it.

    Example:

    >>> item, user, city = (np.ones((4, 16), "float32") for _ in range(3))
    >>> kr.layers.BiInteraction()([item, user, city]).shape
    (4, 16)

    Source: He and Chua, "Neural Factorization Machines for Sparse Predictive Analytics",
    https://arxiv.org/abs/1708.05027
    """

    def call(self, inputs: Tensor) -> Tensor:
        vectors_shape(self.name, inputs)
        return ops.cast(sum_of_products(stacked(inputs), self.compute_dtype), self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, int]:
        batch, _, dim = vectors_shape(self.name, input_shape)
        return (batch, dim)


def sum_of_products(vectors: Tensor, dtype: str) -> Tensor:
    """Return the sum `(batch, dim)` of all pairs' products of vectors `(batch, n, dim)`, in float32 or wider."""
    vectors = ops.cast(vectors, keras.backend.result_type(dtype, "float32"))
    square_of_sum = ops.square(ops.sum(vectors, axis=1))
    return 0.5 * (square_of_sum - ops.sum(ops.square(vectors), axis=1))
