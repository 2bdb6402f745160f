"""Pairwise dot products between feature vectors: the interaction of DLRM."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from kerasrec.layers.shapes import same_vectors


@keras.saving.register_keras_serializable("kerasrec")
class DotInteraction(keras.layers.Layer):
    """The dot products of all pairs of `n` feature vectors.

    For vectors `e_1 .. e_n` the output is `<e_i, e_j>` for all `j < i`: the lower triangle of the `n x n` Gram
    matrix, row after row, without its diagonal: `(2,1), (3,1), (3,2), (4,1), ...`. The order is that of
    `keras_rs.layers.DotInteraction`.

    Args:
        self_interaction: whether the diagonal, `<e_i, e_i>`, is kept as well.

    Inputs: a list of `n` tensors `(batch, dim)`.

    Output: `(batch, n * (n - 1) / 2)`, or `(batch, n * (n + 1) / 2)` with the diagonal, in the compute dtype.

    Raises:
        ValueError: not a list, a tensor that is not `(batch, dim)`, or a `dim` that differs from the first's;
            names which.

    Example:

    >>> x, item, user = (np.ones((4, 16), "float32") for _ in range(3))
    >>> kr.layers.DotInteraction()([x, item, user]).shape
    (4, 3)

    Source: Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems",
    https://arxiv.org/abs/1906.00091
    """

    def __init__(self, self_interaction: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.self_interaction = self_interaction

    def call(self, inputs: list[Any]) -> Any:
        _, n, _ = same_vectors(self.name, inputs)
        return _pairwise_dots(ops.stack(inputs, axis=1), self._pairs(n))

    def _pairs(self, n: int) -> list[tuple[int, int]]:
        return [(i, j) for i in range(n) for j in range(i + self.self_interaction)]

    def compute_output_shape(self, input_shape: list[Any]) -> tuple[int | None, int]:
        batch, n, _ = same_vectors(self.name, input_shape)
        return (batch, len(self._pairs(n)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "self_interaction": self.self_interaction}


def _pairwise_dots(vectors: Any, pairs: list[tuple[int, int]]) -> Any:
    """(batch, n, dim) -> (batch, len(pairs)).

    With Gram matrix `Z = V V^T` and `G` the gradient that reached `Z`, `V`'s gradient is `(G + G^T) V`. Both ways
    are written as gathers, since the gradient of a gather by columns is a slow scatter (half the layer's time).
    """
    n = vectors.shape[1]
    picked = np.array([i * n + j for i, j in pairs], "int32")
    # Where (i, j) and (j, i) find their gradient among the outputs; a pair that is none finds a zero after them.
    place = {pair: k for k, pair in enumerate(pairs)}
    found = [place.get((max(i, j), min(i, j)), len(pairs)) for i in range(n) for j in range(n)]

    @ops.custom_gradient
    def dots(vectors: Any) -> Any:
        gram = ops.matmul(vectors, ops.transpose(vectors, (0, 2, 1)))

        def gradient(*args: Any, upstream: Any = None) -> Any:
            upstream = args[0] if upstream is None else upstream  # PyTorch names it, the others do not
            both = ops.take(ops.pad(upstream, [[0, 0], [0, 1]]), found, axis=1)
            both = ops.reshape(both, (-1, n, n))
            if (0, 0) in place:  # G + G^T holds the diagonal twice
                both = both * (1 + ops.eye(n, dtype=both.dtype))
            return ops.matmul(both, vectors)

        return ops.take(ops.reshape(gram, (-1, n * n)), picked, axis=1), gradient

    return dots(vectors)
