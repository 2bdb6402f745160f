"""The second-order interaction of factorization machines."""

from __future__ import annotations

import keras
from keras import ops

from kerasrec.layers.interactions.bi_interaction import sum_of_products
from kerasrec.layers.shapes import stacked, vectors_shape
from kerasrec.typing import Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class FactorizationMachine(keras.layers.Layer):
    """Sums the dot products of all pairs of feature vectors, in time linear in their number.

    `sum_{i<j} <v_i, v_j> = 1/2 * sum_d ((sum_i v_id)^2 - sum_i v_id^2)`

    The difference of two large sums loses digits, so it is computed in float32 or wider, also
    under a mixed policy.

    Inputs: `n` feature vectors, as a list of tensors `(batch, dim)` or as one `(batch, n, dim)`.

    Output: `(batch, 1)` in the compute dtype.

    Raises:
        ValueError: a tensor has another shape, or another `dim` than the first; the message names it.

    Example:

    >>> item, user, city = (np.ones((4, 16), "float32") for _ in range(3))
    >>> kr.layers.FactorizationMachine()([item, user, city]).shape
    (4, 1)

    Source: Rendle, "Factorization Machines", ICDM 2010; Guo et al., "DeepFM", https://arxiv.org/abs/1703.04247
    """

    def call(self, inputs: Tensor) -> Tensor:
        vectors_shape(self.name, inputs)
        pairs = ops.sum(sum_of_products(stacked(inputs), self.compute_dtype), axis=-1, keepdims=True)
        return ops.cast(pairs, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, int]:
        return (vectors_shape(self.name, input_shape)[0], 1)
