"""The second-order interaction of factorization machines."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.layers.shapes import same_vectors
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
        self._batch(inputs)
        vectors = ops.stack(inputs, axis=1) if isinstance(inputs, (list, tuple)) else inputs
        vectors = ops.cast(vectors, keras.backend.result_type(self.compute_dtype, "float32"))
        square_of_sum = ops.square(ops.sum(vectors, axis=1))
        sum_of_squares = ops.sum(ops.square(vectors), axis=1)
        pairs = 0.5 * ops.sum(square_of_sum - sum_of_squares, axis=-1, keepdims=True)
        return ops.cast(pairs, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, int]:
        return (self._batch(input_shape), 1)

    def _batch(self, inputs: Any) -> int | None:
        """Check the inputs, tensors or their shapes, and return the batch size."""
        shape = tuple(inputs.shape) if hasattr(inputs, "shape") else inputs
        if (
            isinstance(shape, tuple)
            and len(shape) == 3
            and all(size is None or isinstance(size, int) for size in shape)
        ):
            return shape[0]
        return same_vectors(self.name, inputs)[0]
