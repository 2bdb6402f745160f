"""Pairwise dot products between feature vectors: the interaction of DLRM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasrec.gradients import Operation
from kerasrec.layers.shapes import same_vectors
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class DotInteraction(keras.layers.Layer):
    """Computes the dot products of all pairs of `n` feature vectors.

    For vectors `e_1 .. e_n` the output is `<e_i, e_j>` for all `j < i`: the lower triangle of the `n x n` Gram
    matrix, row after row, without its diagonal: `(2,1), (3,1), (3,2), (4,1), ...`. The order is that of
    `keras_rs.layers.DotInteraction`.

    Args:
        self_interaction: whether the output includes the diagonal, `<e_i, e_i>`.

    Inputs: a list of `n` tensors `(batch, dim)`.

    Output: `(batch, n * (n - 1) / 2)`, or `(batch, n * (n + 1) / 2)` with the diagonal, in the compute dtype.

    Raises:
        ValueError: the input is not a list, or one of its tensors is not `(batch, dim)` with the `dim` of the
            first; the message names it.

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

    def call(self, inputs: list[Any], training: bool | None = None) -> Tensor:
        same_vectors(self.name, inputs)
        vectors = ops.stack(inputs, axis=1)
        if not training:  # a SavedModel would have to contain the gradient
            return _forward([vectors], self.self_interaction)[0]
        return _pairwise_dots(vectors, self.self_interaction)

    def compute_output_shape(self, input_shape: list[Any]) -> tuple[int | None, int]:
        batch, n, _ = same_vectors(self.name, input_shape)
        return (batch, len(_pairs(n, self.self_interaction)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "self_interaction": self.self_interaction}


def _pairwise_dots(vectors: Any, self_interaction: bool) -> Any:
    """Return the dot products (batch, pairs) of vectors (batch, n, dim).

    With Gram matrix `Z = V V^T` and `G` the gradient that reached `Z`, `V`'s gradient is `(G + G^T) V`. Both ways
    are written as gathers, since the gradient of a gather by columns is a slow scatter (half the layer's time).
    """
    if keras.backend.backend() == "tensorflow":
        return _TENSORFLOW([vectors], self_interaction=self_interaction)[0]

    @ops.custom_gradient
    def dots(vectors: Any) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            upstream = args[0] if upstream is None else upstream  # PyTorch names it, JAX does not
            return _backward([vectors], [upstream], self_interaction)[0]

        return _forward([vectors], self_interaction)[0], gradient

    return dots(vectors)


def _forward(inputs: Sequence[Any], self_interaction: bool) -> list[Any]:
    (vectors,) = inputs
    n = vectors.shape[1]
    pairs = np.array([i * n + j for i, j in _pairs(n, self_interaction)], "int32")
    gram = ops.matmul(vectors, ops.transpose(vectors, (0, 2, 1)))
    return [ops.take(ops.reshape(gram, (-1, n * n)), pairs, axis=1)]


def _backward(inputs: Sequence[Any], upstream: Sequence[Any], self_interaction: bool) -> list[Any]:
    (vectors,), (upstream,) = inputs, upstream
    n = vectors.shape[1]
    # (i, j) and (j, i) take the gradient of the same output; pairs without an output take the zero after the last.
    output = {pair: k for k, pair in enumerate(_pairs(n, self_interaction))}
    outputs = [output.get((max(i, j), min(i, j)), len(output)) for i in range(n) for j in range(n)]
    symmetric = ops.take(ops.pad(upstream, [[0, 0], [0, 1]]), outputs, axis=1)
    symmetric = ops.reshape(symmetric, (-1, n, n))
    if self_interaction:  # G + G^T has the diagonal twice
        symmetric = symmetric * (1 + ops.eye(n, dtype=symmetric.dtype))
    return [ops.matmul(symmetric, vectors)]


def _pairs(n: int, self_interaction: bool) -> list[tuple[int, int]]:
    return [(i, j) for i in range(n) for j in range(i + self_interaction)]


_TENSORFLOW = Operation("KerasrecPairwiseDots", _forward, _backward)
