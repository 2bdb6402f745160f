"""Continuous columns as vectors, so that they interact as embeddings do."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.typing import Initializer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class ScaledVectors(keras.layers.Layer):
    """Turns each of `n` numbers into a vector of its own direction: `x_j * V_j`.

    Args:
        dim: the vectors' width.
        initializer: of `V`. Draw it as the embedding tables are drawn, so that no field outweighs the others at
            the start.

    Inputs: `(batch, n)`.

    Output: `(batch, n, dim)` in the compute dtype.

    Example:

    >>> kr.layers.ScaledVectors(16)(np.ones((4, 13), "float32")).shape
    (4, 13, 16)

    Source: Guo et al., "DeepFM", https://arxiv.org/abs/1703.04247
    """

    def __init__(self, dim: int, initializer: Initializer = "uniform", **kwargs: Any):
        super().__init__(**kwargs)
        self.dim, self.initializer = dim, keras.initializers.get(initializer)

    def build(self, input_shape: Shape) -> None:
        shape = (input_shape[-1], self.dim)
        self.vectors = self.add_weight(name="vectors", shape=shape, initializer=self.initializer)

    def call(self, x: Tensor) -> Tensor:
        return ops.expand_dims(x, -1) * self.vectors

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        return (*input_shape, self.dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dim": self.dim,
            "initializer": keras.initializers.serialize(self.initializer),
        }
