"""The interaction of FwFM: dot products of feature vectors, with a weight per pair of fields."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from kerasrec.layers.shapes import stacked, vectors_shape
from kerasrec.typing import Initializer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class FieldWeightedPairs(keras.layers.Layer):
    """Sums the dot products of all pairs of feature vectors, weighted by pair: `sum_{i<j} r_ij <v_i, v_j>`.

    With `R` the symmetric matrix of the `r_ij` and a zero diagonal, and `V` the matrix of the vectors, that is
    `1/2 * sum((R V) * V)`: one matrix product, and no list of pairs. With all weights 1, the initial values, it is
    `FactorizationMachine`.

    Args:
        units: how many such sums there are, each with weights of its own.
        kernel_initializer: of the weights, `(n * (n - 1) / 2, units)`, in the order of `DotInteraction`'s pairs.

    Inputs: `n` feature vectors, as a list of tensors `(batch, dim)` or as one `(batch, n, dim)`.

    Output: `(batch, units)` in the compute dtype; zeros for a single vector.

    Raises:
        ValueError: `units` is below 1; a tensor has another shape, or another `dim` than the first; the message
            names it.

    Example:

    >>> item, user, city = (np.ones((4, 16), "float32") for _ in range(3))
    >>> kr.layers.FieldWeightedPairs()([item, user, city]).shape
    (4, 1)

    Source: Pan et al., "Field-weighted Factorization Machines for Click-Through Rate Prediction in Display
    Advertising", https://arxiv.org/abs/1806.03514
    """

    def __init__(self, units: int = 1, kernel_initializer: Initializer = "ones", **kwargs: Any):
        super().__init__(**kwargs)
        if int(units) != units or units < 1:
            raise ValueError(f"{self.name}: units must be an integer >= 1; got {units!r}")
        self.units, self.kernel_initializer = int(units), keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        _, n, _ = vectors_shape(self.name, input_shape)
        shape = (n * (n - 1) // 2, self.units)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=self.kernel_initializer)

    def call(self, inputs: Tensor) -> Tensor:
        _, n, dim = vectors_shape(self.name, inputs)
        vectors = stacked(inputs)
        weighted = ops.reshape(ops.matmul(self._symmetric(n), vectors), (-1, self.units, n, dim))
        return 0.5 * ops.sum(weighted * ops.expand_dims(vectors, 1), axis=(2, 3))

    def _symmetric(self, n: int) -> Tensor:
        """Return the matrices `R` of all units, one below the other: `(units * n, n)`."""
        pairs = np.full((n, n), n * (n - 1) // 2)  # the zero after the last weight, on the diagonal
        pairs[np.tril_indices(n, -1)] = np.arange(n * (n - 1) // 2)
        pairs = np.minimum(pairs, pairs.T).reshape(-1)
        kernel = ops.pad(ops.transpose(self.kernel), [[0, 0], [0, 1]])
        return ops.reshape(ops.take(kernel, pairs, axis=1), (self.units * n, n))

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, int]:
        return (vectors_shape(self.name, input_shape)[0], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
